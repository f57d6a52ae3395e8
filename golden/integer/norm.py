# SPDX-License-Identifier: Apache-2.0
"""LayerNorm statistics of residual rows, in exact integers."""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import GAIN_SHIFT, INVERSE_DIM_FRACTION, MEAN_BITS, SPREAD_BITS
from moevit.spec.tables import rsqrt_table

from .rounding import bit_length, round_shift, wrap
from .row_scale import RoundedPeak, RowScale, peak_scale

__all__ = ["NormRows", "apply_gain", "norm_rows"]


class NormRows(NamedTuple):
    """Per row: mean (s16), the scale of the peak of (x - mean) x gain, and that scale times 1/std."""

    mean: np.ndarray
    peak: RoundedPeak
    scale: RowScale


def apply_gain(x: np.ndarray, mean: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """``(x - mean) x gain / 2^8`` rounded: x, mean, gain s16, result s25."""
    return round_shift((x - mean) * gain, GAIN_SHIFT)


def norm_rows(x: np.ndarray, gain: np.ndarray, dim: int, inverse_dim: int, epsilon: int,
              total: np.ndarray | None = None) -> NormRows:
    """Statistics of rows ``x`` (rows, lanes) s16, whose lanes from ``dim`` on are 0; ``gain`` (lanes,) s16.

    The variance is exact up to its table: ``dim^2 x var = dim x sum(x^2) - sum(x)^2``, which with ``epsilon`` >= 1
    (u32) is positive. 1/std comes without its factor ``dim``, which the column scales carry.

    ``total`` (rows,) s27 is taken for the sums of the rows. Where it is not, mean and variance are what is left of them
    in the machine's s17 and u53, and 1/std of a variance of 0 is 0.
    """
    total = x.sum(axis=1) if total is None else total
    squares = (x * x).sum(axis=1)  # u41
    mean = wrap(round_shift(total * inverse_dim, INVERSE_DIM_FRACTION), MEAN_BITS)
    peak = peak_scale(np.abs(apply_gain(x, mean[:, None], gain)).max(axis=1))
    spread = (dim * squares - total * total + epsilon) & ((1 << SPREAD_BITS) - 1)
    down = bit_length(spread) - 11
    down += down & 1  # even, so that the root of 2^down is a shift
    mantissa = np.where(down > 0, spread >> np.maximum(down, 0), spread << np.maximum(-down, 0))
    root = np.where(spread > 0, rsqrt_table()[mantissa - 512], 0)
    return NormRows(mean, peak, RowScale(round_shift(peak.m * root, 9), peak.e + 4 - (down >> 1)))
