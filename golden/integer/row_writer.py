# SPDX-License-Identifier: Apache-2.0
"""From accumulators to stored rows: scale, bias, activation, gate score, residual, saturation."""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import BIAS_MASKED, GATE_FRACTION, LOGIT_FRACTION, OPERAND_MAX, SCORE_FRACTION, WEIGHT_MAX
from moevit.spec.isa import Activation, Saturation

from .gelu import gelu
from .rounding import round_shift, saturate
from .row_scale import RowScale

__all__ = ["Written", "gate_logits", "scaled", "write_rows"]

_RANGE = {
    Saturation.ROW: (-32768, 32767),
    Saturation.OPERAND: (-OPERAND_MAX, OPERAND_MAX),
    Saturation.WEIGHT: (-WEIGHT_MAX, WEIGHT_MAX),
}


class Written(NamedTuple):
    """Stored rows (rows, columns), and the number of their values that were clipped."""

    rows: np.ndarray
    saturated: int


def scaled(accumulator: np.ndarray, scale: RowScale, column_scale: np.ndarray, shift: int) -> np.ndarray:
    """``accumulator x row scale x column scale / 2^shift``, clipped to s24.

    accumulator s27 (rows, columns). The product of the two scales is rounded to u17. The shift less the row's exponent
    is clipped to 0..63.
    """
    product = round_shift(scale.mantissa[:, None] * column_scale, 15)
    down = np.clip(shift - scale.exponent, 0, 63)[:, None]
    value = round_shift(accumulator * product, np.minimum(down, 50))  # the product is s45
    return np.clip(value, -(1 << 23), (1 << 23) - 1, out=value)


def write_rows(accumulator: np.ndarray, scale: RowScale, column_scale: np.ndarray, bias: np.ndarray, shift: int, *,
               activation: Activation = Activation.NONE, score: np.ndarray | None = None,
               residual: np.ndarray | None = None, saturation: Saturation = Saturation.ROW) -> Written:
    """The stored value of each accumulator: ``sat(residual + score x activation(sat16(scaled + bias)))``.

    bias s16 (columns,); score u17 with 16 fraction bits (rows,); residual s16 (rows, columns).
    A value that both clips change counts as one saturated value.
    """
    value, clipped = saturate(scaled(accumulator, scale, column_scale, shift) + bias, -32768, 32767)
    if activation == Activation.GELU:
        value = gelu(value)
    elif activation == Activation.RELU:
        value = np.maximum(value, 0)
    if score is not None:
        value = round_shift(value * score[:, None], SCORE_FRACTION)
    if residual is not None:
        value = value + residual
    value, clipped_again = saturate(value, *_RANGE[saturation])
    return Written(value, int(np.count_nonzero(clipped | clipped_again)))


def gate_logits(accumulator: np.ndarray, scale: RowScale, column_scale: np.ndarray, bias: np.ndarray,
                shift: int) -> np.ndarray:
    """Gate logits s24 Q8.16 in log2 units. bias s16 Q8.8; a bias of -32768 masks the expert (least logit)."""
    logit = scaled(accumulator, scale, column_scale, shift) + (bias << (GATE_FRACTION - LOGIT_FRACTION))
    return np.where(bias == BIAS_MASKED, -(1 << 23), np.clip(logit, -(1 << 23), (1 << 23) - 1))
