# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.integer.rounding import bit_length, round_shift, saturate


@given(st.integers(-(1 << 60), 1 << 60), st.integers(0, 60))
def test_round_shift_is_round_half_up(value, shift):
    if value + (1 << shift >> 1) < 1 << 62:
        assert round_shift(value, shift) == floor(Fraction(value, 1 << shift) + Fraction(1, 2))


def test_ties_go_up_on_both_sides_of_zero():
    np.testing.assert_array_equal(round_shift(np.array([-6, -2, 2, 6, -5, -7]), 2), [-1, 0, 1, 2, -1, -2])


def test_shifts_may_differ_by_element():
    np.testing.assert_array_equal(round_shift(np.array([7, 7, 7]), np.array([0, 1, 3])), [7, 4, 1])


def test_saturate_says_where():
    value, clipped = saturate(np.array([-5, -4, 0, 3, 4]), -4, 3)
    np.testing.assert_array_equal(value, [-4, -4, 0, 3, 3])
    np.testing.assert_array_equal(clipped, [True, False, False, False, True])


@given(st.integers(0, (1 << 62) - 1))
def test_bit_length(value):
    assert bit_length(np.array(value)) == value.bit_length()
