# SPDX-License-Identifier: Apache-2.0
"""GELU as ReLU less a small even table (Edge-MoE, section IV)."""

from functools import cache

import numpy as np

from moevit.spec.tables import GELU_GUARD, GELU_STEP_BITS, gelu_delta_table

from .rounding import round_shift

__all__ = ["gelu"]


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU of ``x`` s16 Q7.9, as s16 Q7.9: relu(x) - delta(abs(x)), interpolated. Within 2e-3 of the exact erf form."""
    delta = _interpolated()
    return np.maximum(x, 0) - delta[np.minimum(np.abs(x), len(delta) - 1)]


@cache
def _interpolated() -> np.ndarray:
    """Delta at every magnitude up to the end of its table. The table ends in zeros, which also hold beyond it."""
    table = gelu_delta_table()
    magnitude = np.arange((len(table) - 1) << GELU_STEP_BITS)
    index, part = magnitude >> GELU_STEP_BITS, magnitude & ((1 << GELU_STEP_BITS) - 1)
    low, high = table[index], table[index + 1]
    return round_shift((low << GELU_STEP_BITS) + (high - low) * part, GELU_STEP_BITS + GELU_GUARD)
