# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.integer.router import queues, route

ONE = 1 << 16  # of a logit, in log2 units
MASKED = -(1 << 23)

logit_rows = st.integers(2, 16).flatmap(
    lambda experts: st.lists(st.integers(-40 * ONE, 40 * ONE), min_size=experts, max_size=experts))


@given(logit_rows, st.integers(1, 2), st.booleans())
def test_scores_are_a_softmax(row, top_k, renormalise):
    logits = np.array([row])
    experts, scores = (part[0] for part in route(logits, top_k, renormalise))
    exact = 2.0 ** ((logits[0] - logits[0].max()) / ONE)
    exact = exact[experts] / (exact[experts] if renormalise else exact).sum()
    assert np.abs(scores / ONE - exact).max() <= 2.5e-3  # differences are rounded to 2^-8, 1/sum is within 2^-11
    assert scores.max() <= ONE and (np.diff(logits[0][experts]) <= 0).all()


@given(logit_rows, st.integers(1, 2))
def test_scores_of_a_sigmoid_gate(row, top_k):
    experts, scores = (part[0] for part in route(np.array([row]), top_k, False, with_sigmoid=True))
    exact = 1 / (1 + 2.0 ** (-np.array(row)[experts] / ONE))
    assert np.abs(scores / ONE - exact).max() <= 1.5e-3  # logarithms are rounded to 2^-8
    assert (np.diff(np.array(row)[experts]) <= 0).all()


@given(logit_rows, st.integers(1, 2))
def test_scores_of_a_sigmoid_gate_divided_by_their_sum(row, top_k):
    experts, scores = (part[0] for part in route(np.array([row]), top_k, True, with_sigmoid=True))
    exact = 1 / (1 + 2.0 ** (-np.array(row)[experts] / ONE))
    assert row[experts[0]] == max(row)
    assert np.abs(scores / ONE - exact / exact.sum()).max() <= 2.5e-3


def test_a_bias_takes_part_in_the_choice_alone():
    logits = np.array([[3.0, 2.0, 1.0, 0.0]]) * ONE
    bias = (np.array([0, 0, 2.5, 0]) * 256).astype(np.int64)  # for a softmax: Q8.8
    plain, biased = route(logits.astype(np.int64), 2, False), route(logits.astype(np.int64), 2, False, bias=bias)
    np.testing.assert_array_equal((plain.experts, biased.experts), [[[0, 1]], [[2, 0]]])
    np.testing.assert_allclose(biased.scores[0] / ONE, np.array([2, 8]) / 15, atol=2.5e-3)


def test_a_bias_of_a_sigmoid_gate_is_added_to_scores():
    """The sigmoids are 0.8, 0.5, 0.2. A bias of 0.31 makes the second one win, 0.29 does not."""
    logits = np.array([[2, 0, -2]]) * ONE
    for more, first in ((0.31, 1), (0.29, 0)):
        bias = np.array([0, round(more * (1 << 14)), 0])
        routing = route(logits, 2, False, with_sigmoid=True, bias=bias)
        assert routing.experts[0, 0] == first
        np.testing.assert_allclose(sorted(routing.scores[0] / ONE), [0.5, 0.8], atol=1.5e-3)


def test_what_is_chosen_for_its_bias_may_weigh_nothing():
    logits, bias = np.array([[100, -100]]) * ONE, np.array([-32768, 32767])
    np.testing.assert_array_equal(route(logits, 1, True, bias=bias).scores, [[0]])


def test_a_masked_expert_has_no_bias():
    logits, bias = np.array([[MASKED, -90 * ONE, -91 * ONE]]), np.array([32767, 0, 0])
    for with_sigmoid in (False, True):
        routing = route(logits, 2, False, with_sigmoid=with_sigmoid, bias=bias)
        np.testing.assert_array_equal(routing.experts, [[1, 2]])


def test_lower_expert_wins_ties():
    np.testing.assert_array_equal(route(np.array([[3, 9, 9, 9], [5, 5, 5, 5], [1, 0, 2, 2]]), 2, False).experts,
                                  [[1, 2], [0, 1], [2, 3]])


@pytest.mark.parametrize("renormalise, score", [(False, 1 / 16), (True, 1 / 2)])
def test_equal_logits_share_evenly(renormalise, score):
    scores = route(np.zeros((1, 16), np.int64), 2, renormalise).scores
    np.testing.assert_allclose(scores / ONE, [[score, score]], rtol=2**-10)


def test_masked_experts_are_not_chosen_and_weigh_nothing():
    routing = route(np.array([[MASKED, 7 * ONE, MASKED, 7 * ONE]]), 2, False)
    np.testing.assert_array_equal(routing.experts, [[1, 3]])
    np.testing.assert_allclose(routing.scores / ONE, [[0.5, 0.5]], rtol=2**-10)


def test_queues_hold_tokens_in_order_with_their_scores():
    routing = route(np.array([[9, 1, 5], [1, 9, 5], [5, 9, 1]]) * ONE, 2, False)
    found = queues(routing, 3)
    assert [list(queue.tokens) for queue in found] == [[0, 2], [1, 2], [0, 1]]
    np.testing.assert_array_equal(found[2].scores, routing.scores[[0, 1], [1, 1]])


def test_all_tokens_to_one_expert():
    logits = np.zeros((129, 16), np.int64)
    logits[:, 11] = 20 * ONE
    found = queues(route(logits, 1, False), 16)
    np.testing.assert_array_equal(found[11].tokens, np.arange(129))
    assert sum(len(queue.tokens) for queue in found) == 129
