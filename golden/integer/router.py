# SPDX-License-Identifier: Apache-2.0
"""Routing: the top k experts of each token, their scores, and one queue per expert."""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import GATE_FRACTION, LOGIT_FRACTION, SCORE_FRACTION
from moevit.spec.tables import exp2_wide_table

from .rounding import round_shift
from .row_scale import reciprocal

__all__ = ["Queue", "Routing", "queues", "route"]


class Routing(NamedTuple):
    """Per token: its experts (tokens, k), best first, and their scores (tokens, k) u17 with 16 fraction bits."""

    experts: np.ndarray
    scores: np.ndarray


class Queue(NamedTuple):
    """An expert's tokens in increasing order, and the score of each."""

    tokens: np.ndarray
    scores: np.ndarray


def route(logits: np.ndarray, top_k: int, renormalise: bool) -> Routing:
    """Top k of gate logits (tokens, experts) s24 Q8.16 in log2 units; the lower expert wins ties.

    Scores are a softmax over all experts, or over the chosen ones only if ``renormalise``.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    chosen = order[:, :top_k]
    below = logits[np.arange(len(logits)), chosen[:, 0]][:, None] - logits  # u25
    below = round_shift(below, GATE_FRACTION - LOGIT_FRACTION)
    e = round_shift(exp2_wide_table()[below & 255], np.minimum(below >> LOGIT_FRACTION, 31))  # u16
    winners = np.take_along_axis(e, chosen, axis=1)
    inverse = reciprocal((winners if renormalise else e).sum(axis=1))
    # winners x mantissa x 2^(exponent - 15), in units of 2^-16
    scores = round_shift(winners * inverse.mantissa[:, None], (15 - inverse.exponent - SCORE_FRACTION)[:, None])
    return Routing(chosen, np.minimum(scores, 1 << SCORE_FRACTION))


def queues(routing: Routing, experts: int) -> list[Queue]:
    """One queue per expert, tokens in increasing order."""
    result = []
    for expert in range(experts):
        token, rank = np.nonzero(routing.experts == expert)
        result.append(Queue(token, routing.scores[token, rank]))
    return result
