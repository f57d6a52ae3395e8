# SPDX-License-Identifier: Apache-2.0
"""A factor for each head's logits that corrects most of the error of eight-bit exponentials.

A probability below 1/510 of its row's largest becomes zero, and the others get its share. So tokens take too much from
the keys with the largest logits. Slightly smaller logits raise the small probabilities again.
"""

from collections.abc import Iterable

import numpy as np

from moevit.spec.formats import EXP_ONE, LOGIT_FRACTION

__all__ = ["FACTORS", "temper"]

#: The factors to choose from.
FACTORS = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94)


def temper(attention: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The factor of each head's logits (heads,) whose eight-bit softmax comes nearest to an exact softmax.

    ``attention`` yields, for each image, logits s16 (heads, tokens, tokens) and values (heads, tokens, channels). The
    mean over an image's tokens does not count, because biases correct it.
    """
    errors = np.sum([_errors(logits, values) for logits, values in attention], axis=0)  # (factors, heads)
    return np.array(FACTORS)[errors.argmin(axis=0)]


def _errors(logits: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The squared error (factors, heads) of the mixed values against those of an exact softmax."""
    below = ((logits - logits.max(axis=-1, keepdims=True)) * 2.0**-LOGIT_FRACTION).astype(np.float32)
    values = values.astype(np.float32)
    exact = _mixed(np.exp2(below), values)
    eights = (np.rint(EXP_ONE * np.exp2(below * np.float32(factor))) for factor in FACTORS)
    return np.stack([np.square(_mixed(e, values) - exact).sum(axis=(1, 2)) for e in eights])


def _mixed(e: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (heads, tokens, channels) mixed with the weights ``e``, less their mean over the tokens."""
    mixed = e @ values / e.sum(axis=-1, keepdims=True)
    return mixed - mixed.mean(axis=1, keepdims=True)
