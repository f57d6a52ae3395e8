# SPDX-License-Identifier: Apache-2.0
import numpy as np

from moevit.golden.quant.rounding import round_compensated


def output_error(weight, integers, step, inputs):
    return np.square(inputs @ (integers * step[:, None] - weight).T).mean()


def test_better_than_nearest_on_inputs_it_has_not_seen():
    seed = 3
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(64, 64)) * np.logspace(0, -2, 64)  # correlated inputs
    seen, unseen = (rng.normal(size=(1000, 64)) @ mixing.T for _ in range(2))
    weight = rng.normal(size=(32, 64))
    step = np.abs(weight).max(axis=1) / 127
    nearest = np.rint(weight / step[:, None])
    compensated = round_compensated(weight, step, seen.T @ seen / len(seen), 127)
    gain = output_error(weight, nearest, step, unseen) / output_error(weight, compensated, step, unseen)
    assert gain > 3, f"seed {seed}"
    assert np.abs(compensated).max() <= 127


def test_independent_inputs_leave_nothing_to_compensate():
    weight = np.random.default_rng(4).normal(size=(8, 16))
    step = np.abs(weight).max(axis=1) / 127
    np.testing.assert_array_equal(round_compensated(weight, step, np.eye(16), 127), np.rint(weight / step[:, None]))


def test_inputs_that_never_move_and_steps_of_zero():
    weight = np.ones((2, 3))
    found = round_compensated(weight, np.array([1.0, 0.0]), np.zeros((3, 3)), 127)
    np.testing.assert_array_equal(found, [[1, 1, 1], [0, 0, 0]])
