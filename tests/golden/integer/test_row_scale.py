# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.integer.row_scale import digits, peak_scale, quantise, reciprocal


def worth(scale):
    return scale.mantissa * 2.0 ** (scale.exponent - 15)


def test_peaks_are_rounded_up_by_less_than_one_in_256():
    peak = np.concatenate([np.arange(1, 1 << 17), (1 << np.arange(17, 25)), (1 << np.arange(17, 25)) - 1])
    scale = peak_scale(peak)
    assert scale.m.min() >= 256 and scale.m.max() <= 511 and scale.e.min() == -8 and scale.e.max() <= 17
    np.testing.assert_array_equal(worth(scale.row_scale), scale.m * 2.0**scale.e)
    ratio = worth(scale.row_scale) / peak
    assert ratio.min() >= 1 and ratio.max() <= 1 + 2.0**-8


def test_an_empty_row_is_quantised_to_nothing():
    scale = peak_scale(np.array([0]))
    assert (scale.m, scale.e) == (256, -8)
    assert quantise(np.array([0]), scale) == 0


@given(st.integers(1, (1 << 24) - 1), st.floats(-1, 1))
def test_quantised_values_are_within_half_a_step(peak, share):
    value = round(peak * share)
    scale = peak_scale(np.array([peak]))
    exact = value / worth(scale.row_scale)[0] * 32640
    q = quantise(np.array([value]), scale)[0]
    assert abs(q) <= 32640
    # half a step, plus the table's rounding: half of at least 2^15
    assert abs(q - exact) <= 0.5 + abs(exact) * 2.0**-16


def test_both_signs_are_alike_but_for_ties():
    scale = peak_scale(np.array([30000]))
    value = np.arange(30001)
    assert np.abs(quantise(value, scale) + quantise(-value, scale)).max() <= 1


def test_digits_of_every_value():
    q = np.arange(-32640, 32641)
    high, low = digits(q)
    np.testing.assert_array_equal(high * 128 + low, q)
    assert (high.min(), high.max(), low.min(), low.max()) == (-255, 255, -64, 63)


def test_reciprocal_of_every_small_total_and_of_large_ones():
    seed = 11
    large = (2 ** np.random.default_rng(seed).uniform(18, 40, 10_000)).astype(np.int64)
    total = np.concatenate([np.arange(1, 1 << 18), large])
    found = reciprocal(total)
    assert found.mantissa.min() >= 1 << 15 and found.mantissa.max() < 1 << 16
    assert np.abs(worth(found) * total - 1).max() <= 1.01 * 2.0**-11, f"seed {seed}"
