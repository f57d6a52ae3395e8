# SPDX-License-Identifier: Apache-2.0
"""Sums that could overflow the accumulator: which input channels of a linear layer are added up together.

A layer that adds to the residual rows may do so in several passes, each over some of its input channels. Each pass is
scaled, rounded and clipped like a layer of its own. The weights decide how many passes; nearly always it is one.
"""

import numpy as np

from .formats import ACCUMULATOR_MAX, LONGEST_SUM, OPERAND_MAX

__all__ = ["adds_to_residual", "channel_parts"]

#: Every part but the last has a multiple of this many channels: whole words of any machine.
_UNIT = 64
_RESIDUAL = ("patch_embed", "proj", "fc2")


def adds_to_residual(layer: str) -> bool:
    """Whether the linear layer with this name adds to the residual rows, so that it may be split."""
    return layer.rpartition(".")[2] in _RESIDUAL


def channel_parts(weight: np.ndarray) -> tuple[slice, ...]:
    """The input channels of ``weight`` s8 (..., outputs, inputs) in parts, in order.

    There are as few parts as the accumulator can bear for any operands. They have equal length (the last one may be
    shorter), and are the same for all experts or tasks.
    """
    inputs = weight.shape[-1]
    if inputs <= LONGEST_SUM:
        return (slice(0, inputs),)
    magnitude = np.abs(weight)
    units = -(-inputs // _UNIT)
    for count in range(1, units + 1):
        size = -(-units // count) * _UNIT
        parts = tuple(slice(start, min(start + size, inputs)) for start in range(0, inputs, size))
        largest = max(int(magnitude[..., part].sum(axis=-1, dtype=np.int64).max()) for part in parts)
        if largest * OPERAND_MAX <= ACCUMULATOR_MAX:
            break
    return parts
