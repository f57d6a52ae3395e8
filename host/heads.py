# SPDX-License-Identifier: Apache-2.0
"""Heads and their metrics, in numpy: the host applies them to the machine's tokens.

A head normalises tokens, pools them, and has a linear layer. Its weights are the checkpoint's tensors
``heads.<name>.norm.weight``, ``.norm.bias``, ``.fc.weight`` [outputs, inputs], ``.fc.bias``. Its options ``pool``,
``norm``, ``task``, ``classes`` are in ``host["heads"][name]`` (docs/formats.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moevit.spec.heads import HeadError, check_heads, head_options
from moevit.spec.networks import Network

__all__ = ["Head", "HeadError", "confusion_matrix", "mean_iou", "read_heads", "rmse"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear layer on pooled tokens of a network. Without ``weight`` it gives all normalised tokens.

    Parameters
    ----------
    pool : patches (each patch token by itself), cls (token 0), mean (of the patch tokens), cls_mean (both, one after
        the other), prefix (all prefix tokens, one after the other)
    norm : a LayerNorm before the pooling (tokens), after it (pooled), or none
    task : whose tokens it takes; None: any task's
    classes : names of the outputs, if they have any
    norm_weight, norm_bias : (channels,); weight : (outputs, inputs); bias : (outputs,)
    """

    network: Network
    pool: str = "patches"
    norm: str = "tokens"
    task: str | None = None
    classes: tuple[str, ...] | None = None
    norm_weight: Floats | None = None
    norm_bias: Floats | None = None
    weight: Floats | None = None
    bias: Floats | None = None

    def __call__(self, tokens: Floats) -> Floats:
        """Float tokens (..., N, dim) as the accelerator returns them, scaled -> (..., outputs), with pool patches
        (..., patches, outputs), without a linear layer (..., N, dim)."""
        if tokens.shape[-2:] != (self.network.tokens, self.network.dim):
            raise HeadError(f"the head of {self.network.name} takes tokens (..., {self.network.tokens}, "
                            f"{self.network.dim}), not {tokens.shape}")
        tokens = tokens.astype(np.float32)
        if self.norm == "tokens":
            tokens = self._normed(tokens)
        if self.weight is None or self.bias is None:
            return tokens
        pooled = _pooled(tokens, self.pool, self.network.prefix_tokens)
        if self.norm == "pooled":
            pooled = self._normed(pooled)
        return pooled @ self.weight.T + self.bias

    def _normed(self, values: Floats) -> Floats:
        centred = values - values.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(self.network.norm_eps))
        return centred / deviation * self.norm_weight + self.norm_bias


def _pooled(tokens: Floats, pool: str, prefix: int) -> Floats:
    first, patches = tokens[..., 0, :], tokens[..., prefix:, :]
    if pool == "patches":
        return patches
    if pool == "cls":
        return first
    if pool == "prefix":
        return tokens[..., :prefix, :].reshape(*tokens.shape[:-2], -1)
    mean = patches.mean(-2)
    return mean if pool == "mean" else np.concatenate([first, mean], -1)


def read_heads(network: Network, tensors: Mapping[str, NDArray],
               host: Mapping[str, Any] | None = None) -> dict[str, Head]:
    """The heads in the arrays of a checkpoint or bundle, by name.

    ``host`` has their options (`QuantisedModel.host`, a manifest's ``host``). If it has no heads, each head with the
    name of a task takes that task's patch tokens. Raises HeadError for a head that is incomplete or misshapen.
    """
    check_heads(network, tensors, host)
    return {name: _read_head(network, tensors, name, options)
            for name, options in head_options(network, tensors, host).items()}


def confusion_matrix(labels: NDArray, predictions: NDArray, classes: int) -> NDArray[np.int64]:
    """Counts int64 [label, prediction] of two integer arrays of the same shape, with values 0 .. classes - 1."""
    if labels.shape != predictions.shape:
        raise HeadError(f"labels {labels.shape} and predictions {predictions.shape} differ in shape")
    for name, values in (("label", labels), ("prediction", predictions)):
        if values.size and not (0 <= values.min() and values.max() < classes):
            raise HeadError(f"a {name} lies in {values.min()}..{values.max()}, classes are 0..{classes - 1}")
    pairs = labels.astype(np.int64).ravel() * classes + predictions.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean over classes of intersection over union, in 0..1. A class that is neither labelled nor predicted does not
    count."""
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


def _read_head(network: Network, tensors: Mapping[str, NDArray], name: str, options: Mapping[str, Any]) -> Head:
    names = {"norm_weight": "norm.weight", "norm_bias": "norm.bias", "weight": "fc.weight", "bias": "fc.bias"}
    arrays = {field: np.asarray(tensors[f"heads.{name}.{part}"], np.float32) for field, part in names.items()
              if f"heads.{name}.{part}" in tensors}
    classes = options.get("classes")
    return Head(network=network, pool=options.get("pool", "patches"), norm=options.get("norm", "tokens"),
                task=options.get("task"), classes=tuple(map(str, classes)) if classes else None, **arrays)
