# SPDX-License-Identifier: Apache-2.0
"""The exponentials of attention rows: base 2, relative to the row's maximum."""

import numpy as np

from moevit.spec.formats import LOGIT_FRACTION
from moevit.spec.tables import EXP2_GUARD, exp2_table

from .rounding import round_shift

__all__ = ["exponentials"]


def exponentials(logits: np.ndarray, maximum: np.ndarray, keys: int) -> np.ndarray:
    """``255 x 2^(logit - maximum)`` as u8 of logits s16 Q8.8 (rows, lanes). Lanes from ``keys`` on give 0."""
    below = maximum[:, None] - logits  # u17
    whole, part = below >> LOGIT_FRACTION, below & ((1 << LOGIT_FRACTION) - 1)
    e = round_shift(exp2_table()[part], EXP2_GUARD + np.minimum(whole, 15))
    return np.where(np.arange(logits.shape[1]) < keys, e, 0)
