# SPDX-License-Identifier: Apache-2.0
"""Heads: which options a head has, and which arrays each needs. `host.heads` runs them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .networks import Network

__all__ = ["NORMS", "HeadError", "check_heads", "head_options"]

NORMS = ("tokens", "pooled", "none")


class HeadError(ValueError):
    """Head weights, tokens or labels that do not fit each other.

    Fix: give each head the arrays and shapes that the message names, or correct what ``host["heads"]`` says of it.
    """


def head_options(network: Network, tensors: Mapping[str, np.ndarray],
                 host: Mapping[str, Any] | None = None) -> Mapping[str, Mapping[str, Any]]:
    """The options of each head, by name, as ``host`` has them (`QuantisedModel.host`, a manifest's ``host``).

    If ``host`` has no heads, each head with the name of a task takes that task's patch tokens.
    """
    options = (host or {}).get("heads")
    return options or {task: {"task": task} for task in network.tasks
                       if any(name.startswith(f"heads.{task}.") for name in tensors)}


def check_heads(network: Network, tensors: Mapping[str, np.ndarray],
                host: Mapping[str, Any] | None = None) -> None:
    """Raises HeadError if an array is missing or misshapen, or if a head takes tokens that ``network`` lacks."""
    for name, options in head_options(network, tensors, host).items():
        inputs = _inputs(network, name, options)
        norm = options.get("norm", "tokens")
        if norm != "none":
            channels = network.dim if norm == "tokens" else inputs
            for part in ("norm.weight", "norm.bias"):
                _check_shape(tensors, f"heads.{name}.{part}", (channels,))
        if any(f"heads.{name}.fc.{part}" in tensors for part in ("weight", "bias")) or name != "features":
            _check_linear(tensors, name, inputs, options.get("classes"))


def _inputs(network: Network, name: str, options: Mapping[str, Any]) -> int:
    """Channels that the head's linear layer takes."""
    pool, norm, task = options.get("pool", "patches"), options.get("norm", "tokens"), options.get("task")
    dim = network.dim
    inputs = {"patches": dim, "mean": dim}
    if network.prefix_tokens:
        inputs |= {"cls": dim, "cls_mean": 2 * dim, "prefix": network.prefix_tokens * dim}
    if pool not in inputs or norm not in NORMS or task not in (None, *network.tasks):
        raise HeadError(f"head {name} has pool {pool!r}, norm {norm!r}, task {task!r}: {network.name} knows "
                        f"{', '.join(inputs)}; {', '.join(NORMS)}; {', '.join(network.tasks)}")
    return inputs[pool]


def _check_shape(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> None:
    if name not in tensors:
        raise HeadError(f"{name} is missing: a head needs norm.weight, norm.bias, fc.weight and fc.bias")
    if np.shape(tensors[name]) != shape:
        raise HeadError(f"{name} has shape {np.shape(tensors[name])}, it must be {shape}")


def _check_linear(tensors: Mapping[str, np.ndarray], name: str, inputs: int, classes: Any) -> None:
    for part in ("weight", "bias"):
        if f"heads.{name}.fc.{part}" not in tensors:
            raise HeadError(f"heads.{name}.fc.{part} is missing: a head needs norm.weight, norm.bias, fc.weight and "
                            "fc.bias")
    weight, bias = (np.shape(tensors[f"heads.{name}.fc.{part}"]) for part in ("weight", "bias"))
    if len(weight) != 2 or weight[1] != inputs or bias != weight[:1]:
        raise HeadError(f"heads.{name}.fc has weight {weight} and bias {bias}: they must be (outputs, {inputs}) and "
                        "(outputs,)")
    if classes is not None and (not isinstance(classes, list) or len(classes) != weight[0]):
        raise HeadError(f"head {name} has {weight[0]} outputs, its classes must be as many names")
