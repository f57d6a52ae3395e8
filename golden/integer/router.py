# SPDX-License-Identifier: Apache-2.0
"""Routing: the top k experts of each token, their scores, and one queue per expert.

All gates are sums of powers of two. A softmax gate adds up ``2^logit``. The score of a sigmoid gate is ``2^y``, where
``y`` is log2 of the logit's sigmoid; divided by their sum, its scores are a softmax of ``y``.
"""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import (
    GATE_FRACTION,
    GATE_LOGIT_BITS,
    LOGIT_FRACTION,
    SCORE_FRACTION,
    SELECT_FRACTION,
    signed_range,
)
from moevit.spec.tables import exp2_wide_table

from .rounding import round_shift
from .row_scale import reciprocal
from .sigmoid import log2_sigmoid, sigmoid

__all__ = ["Queue", "Routing", "queues", "route"]


class Routing(NamedTuple):
    """For each token: its experts (tokens, k), best first, and their scores u17 (tokens, k) with 16 fraction bits."""

    experts: np.ndarray
    scores: np.ndarray


class Queue(NamedTuple):
    """The tokens of an expert in increasing order, and the score of each."""

    tokens: np.ndarray
    scores: np.ndarray


def route(logits: np.ndarray, top_k: int, renormalise: bool, *, with_sigmoid: bool = False,
          bias: np.ndarray | None = None) -> Routing:
    """Choose the top k of gate logits s24 Q8.16 (tokens, experts) in log2 units. The lower expert wins a tie.

    The scores of a softmax gate are a softmax over all experts; with ``renormalise``, over the chosen ones. The scores
    of a sigmoid gate (``with_sigmoid``) are sigmoids; ``renormalise`` divides them by their sum over the chosen
    experts. ``bias`` s16 (experts,) changes the choice but not the scores.
    """
    chosen = np.argsort(-_ranked(logits, with_sigmoid, bias), axis=1, kind="stable")[:, :top_k]
    value = log2_sigmoid(logits) if with_sigmoid else logits
    absolute = with_sigmoid and not renormalise
    highest = 0 if absolute else value.max(axis=1)[:, None]
    below = round_shift(highest - value, GATE_FRACTION - LOGIT_FRACTION)  # the difference is u25
    e = round_shift(exp2_wide_table()[below & 255], np.minimum(below >> LOGIT_FRACTION, 31))  # u16
    winners = np.take_along_axis(e, chosen, axis=1)
    if absolute:
        return Routing(chosen, winners)
    total = (winners if renormalise else e).sum(axis=1)  # 0 if a bias chose experts whose exponentials are all 0
    inverse = reciprocal(np.maximum(total, 1))
    # winners x mantissa x 2^(exponent - 15), in units of 2^-16
    scores = round_shift(winners * inverse.mantissa[:, None], (15 - inverse.exponent - SCORE_FRACTION)[:, None])
    return Routing(chosen, np.minimum(scores, 1 << SCORE_FRACTION))


def _ranked(logits: np.ndarray, with_sigmoid: bool, bias: np.ndarray | None) -> np.ndarray:
    """The values s24 that rank the experts: logit, logit + bias, or sigmoid + bias. The least logit (masked) stays."""
    if bias is None:
        return logits
    low, high = signed_range(GATE_LOGIT_BITS)
    unit = GATE_FRACTION - LOGIT_FRACTION
    base = sigmoid(logits) << (SELECT_FRACTION + unit - SCORE_FRACTION) if with_sigmoid else logits
    return np.where(logits == low, low, np.clip(base + (bias << unit), low, high))


def queues(routing: Routing, experts: int) -> list[Queue]:
    """One queue per expert, tokens in increasing order."""
    result = []
    for expert in range(experts):
        token, rank = np.nonzero(routing.experts == expert)
        result.append(Queue(token, routing.scores[token, rank]))
    return result
