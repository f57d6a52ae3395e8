# SPDX-License-Identifier: Apache-2.0
"""GELU as ReLU minus a small even table (Edge-MoE, section IV)."""

import numpy as np

from moevit.spec.tables import GELU_GUARD, GELU_STEP_BITS, gelu_delta_table

from .rounding import round_shift

__all__ = ["gelu"]


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU of s16 Q7.9 as s16 Q7.9, within 2e-3 of the exact erf form: relu(x) - delta(abs(x)), interpolated."""
    table = gelu_delta_table()
    magnitude = np.abs(x)  # u16: 32768 for the most negative value
    index, part = magnitude >> GELU_STEP_BITS, magnitude & ((1 << GELU_STEP_BITS) - 1)
    last = len(table) - 1
    low, high = table[np.minimum(index, last)], table[np.minimum(index + 1, last)]
    delta = round_shift((low << GELU_STEP_BITS) + (high - low) * part, GELU_STEP_BITS + GELU_GUARD)
    return np.maximum(x, 0) - delta
