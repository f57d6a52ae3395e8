# SPDX-License-Identifier: Apache-2.0
import numpy as np

from moevit.golden.integer.sigmoid import log2_sigmoid, sigmoid

X = np.arange(-(20 << 16), 20 << 16)
EXACT = 1 / (1 + 2.0 ** (-X / 65536))


def test_every_logit_is_close_to_the_exact_form():
    assert np.abs(sigmoid(X) / 65536 - EXACT).max() <= 4e-5
    assert np.abs(log2_sigmoid(X) / 65536 - np.log2(EXACT)).max() <= 1e-4


def test_a_larger_logit_has_no_smaller_sigmoid():
    assert np.diff(sigmoid(X)).min() >= 0


def test_extremes_fit():
    extremes = np.array([-(1 << 23), (1 << 23) - 1])
    np.testing.assert_array_equal(log2_sigmoid(extremes), [-(1 << 23), 0])
    np.testing.assert_array_equal(sigmoid(extremes), [0, 65536])
