# SPDX-License-Identifier: Apache-2.0
"""Sums that are longer than the accumulator bears: which channels of a linear layer are added up together.

A layer that adds to the residual rows may do so in several passes, each over some of its input channels, scaled,
rounded and clipped like a layer of its own. Weights decide how many: nearly always one.
"""

import numpy as np

from .formats import ACCUMULATOR_MAX, LONGEST_SUM, OPERAND_MAX

__all__ = ["adds_to_residual", "channel_parts"]

#: Channels that a part's end is a multiple of: whole words of any machine.
_UNIT = 64
_RESIDUAL = ("patch_embed", "proj", "fc2")


def adds_to_residual(layer: str) -> bool:
    """Whether the linear layer of this name may be split: it adds to the residual rows."""
    return layer.rpartition(".")[2] in _RESIDUAL


def channel_parts(weight: np.ndarray) -> tuple[slice, ...]:
    """Parts of the input channels of ``weight`` s8 (..., outputs, inputs), in order, that cover them all.

    As few as the accumulator bears whatever the operands are, of equal length (the last one may be shorter), the same
    for all experts or tasks.
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
