# SPDX-License-Identifier: Apache-2.0
import numpy as np

from moevit.golden.integer.softmax import exponentials


def test_every_distance_from_the_maximum():
    below = np.arange(1 << 16)
    e = exponentials(32767 - below[None], np.array([32767]), len(below))[0]
    assert e[0] == 255 and e.min() == 0
    assert np.abs(e - 255 * 2.0 ** (-below / 256)).max() <= 0.5 + 0.125  # its own rounding, and that of the guard bits
    assert (np.diff(e) <= 0).all()


def test_equal_logits_are_all_one():
    for value in (-32768, 0, 32767):
        np.testing.assert_array_equal(exponentials(np.full((1, 5), value), np.array([value]), 5), [[255] * 5])


def test_lanes_beyond_the_keys_are_nothing():
    logits = np.array([[5, 5, 32767, -32768]])
    np.testing.assert_array_equal(exponentials(logits, np.array([5]), 2), [[255, 255, 0, 0]])
