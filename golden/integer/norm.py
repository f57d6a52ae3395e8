# SPDX-License-Identifier: Apache-2.0
"""LayerNorm statistics of residual rows in exact integers."""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import GAIN_SHIFT, INVERSE_DIM_FRACTION, MEAN_BITS, SPREAD_BITS
from moevit.spec.tables import rsqrt_table

from .rounding import bit_length, round_shift, wrap
from .row_scale import RoundedPeak, RowScale, peak_scale

__all__ = ["NormRows", "apply_gain", "norm_rows"]


class NormRows(NamedTuple):
    """For each row: its mean s16, the peak of (x - mean) x gain as a scale, and that scale times 1/std."""

    mean: np.ndarray
    peak: RoundedPeak
    scale: RowScale


def apply_gain(x: np.ndarray, mean: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """``(x - mean) x gain / 2^8``, rounded. x, mean and gain are s16, the result is s25."""
    return round_shift((x - mean) * gain, GAIN_SHIFT)


def norm_rows(x: np.ndarray, gain: np.ndarray, dim: int, inverse_dim: int, epsilon: int,
              total: np.ndarray | None = None) -> NormRows:
    """Statistics of the rows ``x`` s16 (rows, lanes), whose lanes from ``dim`` on are 0. ``gain`` is s16 (lanes,).

    The variance is exact: ``dim^2 x var = dim x sum(x^2) - sum(x)^2 + epsilon``. It is positive for ``epsilon`` (u32)
    of 1 or more. 1/std comes from a table. It lacks the factor ``dim``, which the column scales contain.

    ``total`` s27 (rows,) replaces the sums of the rows. If it differs from them, mean and variance wrap at the s17 and
    u53 of the machine, and 1/std of a variance of 0 is 0.
    """
    total = x.sum(axis=1) if total is None else total
    squares = (x * x).sum(axis=1)  # u41
    mean = wrap(round_shift(total * inverse_dim, INVERSE_DIM_FRACTION), MEAN_BITS)
    peak = peak_scale(np.abs(apply_gain(x, mean[:, None], gain)).max(axis=1))
    spread = (dim * squares - total * total + epsilon) & ((1 << SPREAD_BITS) - 1)
    down = bit_length(spread) - 11
    down += down & 1  # an even shift, so that the root of 2^down is a shift too
    mantissa = np.where(down > 0, spread >> np.maximum(down, 0), spread << np.maximum(-down, 0))
    root = np.where(spread > 0, rsqrt_table()[mantissa - 512], 0)
    return NormRows(mean, peak, RowScale(round_shift(peak.m * root, 9), peak.e + 4 - (down >> 1)))
