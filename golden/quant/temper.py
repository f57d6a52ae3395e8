# SPDX-License-Identifier: Apache-2.0
"""What the exponentials of eight bits do to attention, and the factor of each head's logits that makes good most of it.

A probability below 1/510 of its row's largest becomes zero, and its share goes to the others: tokens hear too much of
what they hear most. Logits that are a little smaller lift the small ones again.
"""

from collections.abc import Iterable

import numpy as np

from moevit.spec.formats import EXP_ONE, LOGIT_FRACTION

__all__ = ["FACTORS", "temper"]

#: Factors of the logits that are tried.
FACTORS = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94)


def temper(attention: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The factor of each head's logits (heads,) with which eight bits come nearest to an exact softmax.

    ``attention``: of each image, logits s16 (heads, tokens, tokens) and values (heads, tokens, channels). The mean
    over an image's tokens is left out: biases take it.
    """
    errors = np.sum([_errors(logits, values) for logits, values in attention], axis=0)  # (factors, heads)
    return np.array(FACTORS)[errors.argmin(axis=0)]


def _errors(logits: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Energy (factors, heads) of the difference of the mixed values to those of an exact softmax."""
    below = ((logits - logits.max(axis=-1, keepdims=True)) * 2.0**-LOGIT_FRACTION).astype(np.float32)
    values = values.astype(np.float32)
    exact = _mixed(np.exp2(below), values)
    eights = (np.rint(EXP_ONE * np.exp2(below * np.float32(factor))) for factor in FACTORS)
    return np.stack([np.square(_mixed(e, values) - exact).sum(axis=(1, 2)) for e in eights])


def _mixed(e: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (heads, tokens, channels) mixed by ``e``, less their mean over the tokens."""
    mixed = e @ values / e.sum(axis=-1, keepdims=True)
    return mixed - mixed.mean(axis=1, keepdims=True)
