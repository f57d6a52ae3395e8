# SPDX-License-Identifier: Apache-2.0
"""Row scales, and the quantisation of a row to operands.

A row scale is a pair of mantissa u16 and exponent s7. Its value is ``mantissa x 2^(exponent - 15)``.
"""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import DIGIT_BITS, QUANTISED_MAX
from moevit.spec.tables import RECIPROCAL_BITS, quantiser_table, reciprocal_table

from .rounding import bit_length, round_shift

__all__ = ["UNIT", "RoundedPeak", "RowScale", "digits", "peak_scale", "quantise", "reciprocal"]


class RowScale(NamedTuple):
    """``mantissa x 2^(exponent - 15)``, one entry per row. mantissa u16, exponent s7."""

    mantissa: np.ndarray
    exponent: np.ndarray


class RoundedPeak(NamedTuple):
    """A peak rounded up to nine significant bits: ``m x 2^e``, m in 256..511, e in -8..17."""

    m: np.ndarray
    e: np.ndarray

    @property
    def row_scale(self) -> RowScale:
        return RowScale(self.m << 7, self.e + 8)


UNIT = RowScale(np.array(1 << 15), np.array(0))


def peak_scale(peak: np.ndarray) -> RoundedPeak:
    """The scale of a row with the largest magnitude ``peak`` u25. A peak of 0 counts as 1."""
    peak = np.maximum(np.asarray(peak, np.int64), 1)
    e = bit_length(peak) - 9
    down = np.maximum(e, 0)
    m = np.where(e > 0, (peak + (1 << down) - 1) >> down, peak << np.maximum(-e, 0))
    carry = m == 512
    return RoundedPeak(np.where(carry, 256, m), e + carry)


def quantise(value: np.ndarray, scale: RoundedPeak) -> np.ndarray:
    """``value / (m x 2^e) x 32640`` as an integer in +-32640. ``value`` s25 is at most the peak of ``scale``."""
    q = round_shift(value * quantiser_table()[scale.m - 256], 9 + scale.e)
    return np.clip(q, -QUANTISED_MAX, QUANTISED_MAX)


def digits(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The high digit s9 in +-255 (the operand) and the low digit in -64..63 of ``q``: ``q == high x 128 + low``."""
    high = round_shift(q, DIGIT_BITS)
    return high, q - (high << DIGIT_BITS)


def reciprocal(total: np.ndarray) -> RowScale:
    """``1 / total`` for ``total`` in 1..2^40, from a table of 11-bit mantissas. The relative error is below 5e-4."""
    bits = bit_length(total)
    down, up = np.maximum(bits - RECIPROCAL_BITS, 0), np.maximum(RECIPROCAL_BITS - bits, 0)
    return RowScale(reciprocal_table()[((total >> down) << up) - 1024], -bits)
