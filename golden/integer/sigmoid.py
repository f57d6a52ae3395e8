# SPDX-License-Identifier: Apache-2.0
"""The sigmoid of a gate's logit and its binary logarithm, from tables."""

import numpy as np

from moevit.spec.formats import SCORE_FRACTION
from moevit.spec.tables import SIGMOID_GUARD, SIGMOID_STEP_BITS, log2_sigmoid_table, sigmoid_table

from .rounding import round_shift

__all__ = ["log2_sigmoid", "sigmoid"]


def log2_sigmoid(logit: np.ndarray) -> np.ndarray:
    """``log2(1 / (1 + 2^-x))`` of x s24 Q8.16, as s24 Q8.16: min(x, 0) less an even table. Within 1e-4."""
    return np.minimum(logit, 0) - _interpolated(log2_sigmoid_table(), logit)


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """``1 / (1 + 2^-x)`` of x s24 Q8.16, as u17 with 16 fraction bits. Within 4e-5."""
    small = _interpolated(sigmoid_table(), logit)
    return np.where(logit < 0, small, (1 << SCORE_FRACTION) - small)


def _interpolated(table: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """The table at ``abs(logit)``, with the magnitude rounded to 2^-12. 0 beyond the table's end."""
    magnitude = round_shift(np.abs(logit), SIGMOID_GUARD)
    index, part = magnitude >> SIGMOID_STEP_BITS, magnitude & ((1 << SIGMOID_STEP_BITS) - 1)
    last = len(table) - 2
    low, high = table[np.minimum(index, last)], table[np.minimum(index, last) + 1]
    value = round_shift((low << SIGMOID_STEP_BITS) - (low - high) * part, SIGMOID_STEP_BITS)
    return np.where(index > last, 0, value)
