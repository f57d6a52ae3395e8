# SPDX-License-Identifier: Apache-2.0
"""Experts in one stacked tensor or in one tensor each, and gates of either orientation."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import BadTensor, MissingTensor
from .inventory import Inventory

__all__ = ["shaped", "take_experts", "take_gates"]


def take_experts(inventory: Inventory, name: str, parts: tuple[str, ...], kind: str) -> Tensor:
    """``kind`` (weight or bias) of one layer of all experts (experts, ...), stacked or one by one in the source."""
    for part in parts:
        if f"{name}.{part}.{kind}" in inventory:
            return inventory.take(f"{name}.{part}.{kind}")
        numbers = sorted(int(found[1]) for each in inventory.names(f"{name}.*")
                         if (found := re.fullmatch(rf"{re.escape(name)}\.(\d+)\.{part}\.{kind}", each)))
        if numbers:
            if numbers != list(range(len(numbers))):
                raise MissingTensor(f"{name}.{part}.{kind}: experts {numbers} are there, some are missing")
            each = [inventory.take(f"{name}.{number}.{part}.{kind}") for number in numbers]
            axes = 2 if kind == "weight" else 1
            return torch.stack([value.reshape(value.shape[-axes:]) for value in each])  # fastmoe keeps an axis of 1
    raise MissingTensor(f"{name}.{parts[0]}.{kind} is missing")


def take_gates(inventory: Inventory, name: str, dim: int) -> Tensor:
    """Gates (tasks, experts, dim). The source may lack the first axis, or have the other two swapped.

    If there are as many experts as channels, the order cannot be seen: it is taken as (experts, dim).
    """
    weight = inventory.take(name)
    weight = weight[None] if weight.ndim == 2 else weight
    if weight.ndim == 3 and weight.shape[2] != dim and weight.shape[1] == dim:
        inventory.report.say("folded", "gates are transposed")
        weight = weight.transpose(1, 2)
    return weight


def shaped(name: str, value: Tensor, shape: Sequence[int]) -> Tensor:
    """``value`` if it has the ``shape``. Raises BadTensor."""
    if value.shape != tuple(shape):
        raise BadTensor(f"{name} has shape {tuple(value.shape)}, its neighbours ask for {tuple(shape)}")
    return value
