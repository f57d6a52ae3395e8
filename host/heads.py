# SPDX-License-Identifier: Apache-2.0
"""Per-patch task heads and their metrics, in numpy: what follows the accelerator on the host.

A head is a LayerNorm and one linear layer on every patch token. Its weights are the checkpoint's tensors
``heads.<task>.norm.weight``, ``.norm.bias``, ``.fc.weight`` [outputs, dim], ``.fc.bias``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moevit.spec.networks import Network

__all__ = ["Head", "HeadError", "confusion_matrix", "mean_iou", "read_heads", "rmse"]

Floats = NDArray[np.float32]


class HeadError(ValueError):
    """Head weights, tokens or labels that do not fit each other."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """``fc(norm(token))`` for the patch tokens of a network; prefix tokens are left out.

    ``norm_weight``, ``norm_bias`` (dim,), ``weight`` (outputs, dim), ``bias`` (outputs,).
    """

    network: Network
    norm_weight: Floats
    norm_bias: Floats
    weight: Floats
    bias: Floats

    def __call__(self, tokens: Floats) -> Floats:
        """Float tokens (..., N, dim) as the accelerator returns them, scaled -> (..., patches, outputs)."""
        if tokens.shape[-2:] != (self.network.tokens, self.network.dim):
            raise HeadError(f"the head of {self.network.name} takes tokens (..., {self.network.tokens}, "
                            f"{self.network.dim}), not {tokens.shape}")
        patches = tokens[..., self.network.prefix_tokens :, :].astype(np.float32)
        centred = patches - patches.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(self.network.norm_eps))
        return (centred / deviation * self.norm_weight + self.norm_bias) @ self.weight.T + self.bias


def read_heads(network: Network, tensors: Mapping[str, NDArray]) -> dict[str, Head]:
    """The heads that a checkpoint's arrays hold, by task. Raises HeadError for a missing or misshapen one."""
    tasks = [task for task in network.tasks if any(name.startswith(f"heads.{task}.") for name in tensors)]
    return {task: _read_head(network, tensors, task) for task in tasks}


def confusion_matrix(labels: NDArray, predictions: NDArray, classes: int) -> NDArray[np.int64]:
    """Counts [label, prediction] of two integer arrays of the same shape, with values 0 .. classes - 1."""
    if labels.shape != predictions.shape:
        raise HeadError(f"labels {labels.shape} and predictions {predictions.shape} differ in shape")
    for name, values in (("label", labels), ("prediction", predictions)):
        if values.size and not (0 <= values.min() and values.max() < classes):
            raise HeadError(f"a {name} lies in {values.min()}..{values.max()}, classes are 0..{classes - 1}")
    pairs = labels.astype(np.int64).ravel() * classes + predictions.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean over classes of intersection over union, in 0..1; a class neither labelled nor predicted is left out."""
    hits = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    if not union.any():
        raise HeadError("an empty confusion matrix has no IoU: count at least one patch")
    return float((hits[union > 0] / union[union > 0]).mean())


def rmse(labels: NDArray, predictions: NDArray) -> float:
    """Root mean square error of two float arrays of the same shape, in the unit of the labels."""
    if labels.shape != predictions.shape:
        raise HeadError(f"labels {labels.shape} and predictions {predictions.shape} differ in shape")
    return float(np.sqrt(np.square(labels.astype(np.float64) - predictions).mean()))


def _read_head(network: Network, tensors: Mapping[str, NDArray], task: str) -> Head:
    def take(part: str) -> Floats:
        name = f"heads.{task}.{part}"
        if name not in tensors:
            raise HeadError(f"{name} is missing: a head needs norm.weight, norm.bias, fc.weight and fc.bias")
        value = np.asarray(tensors[name], np.float32)
        if part != "fc.bias" and value.shape[-1] != network.dim:
            raise HeadError(f"{name} has shape {value.shape}, its last axis must be {network.dim}")
        return value

    head = Head(network=network, norm_weight=take("norm.weight"), norm_bias=take("norm.bias"),
                weight=take("fc.weight"), bias=take("fc.bias"))
    if head.weight.ndim != 2 or head.bias.shape != head.weight.shape[:1]:
        raise HeadError(f"heads.{task}.fc has weight {head.weight.shape} and bias {head.bias.shape}: "
                        f"they must be (outputs, {network.dim}) and (outputs,)")
    return head
