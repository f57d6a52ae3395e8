# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.norm import apply_gain, norm_rows
from moevit.golden.integer.row_scale import RoundedPeak, quantise


def normalised(x: np.ndarray, gain: np.ndarray, epsilon: int) -> np.ndarray:
    """The machine's normalised rows for ``x``: operand x row scale x dim, in units of gain / 2^8."""
    dim = x.shape[1]
    norm = norm_rows(x, gain, dim, round((1 << 24) / dim), epsilon)
    peak = RoundedPeak(norm.peak.m[:, None], norm.peak.e[:, None])
    q = quantise(apply_gain(x, norm.mean[:, None], gain), peak)
    return q / 32640 * (norm.scale.mantissa * 2.0 ** (norm.scale.exponent - 15))[:, None] * dim


@pytest.mark.parametrize("spread", [3, 300, 10_000])
@pytest.mark.parametrize("dim", [32, 192, 384])
def test_close_to_float(dim, spread):
    seed = 5
    rng = np.random.default_rng(seed)
    x = np.clip(np.rint(rng.normal(500, spread, (200, dim))), -32768, 32767).astype(np.int64)
    gain = rng.integers(-20_000, 20_000, dim)
    found = normalised(x, gain, epsilon=1)
    exact = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) * gain / 256
    # The mean is rounded to an integer, the peak to 1/256 of itself, the product to an integer.
    error = np.abs(found - exact) / np.abs(exact).max(1, keepdims=True)
    assert error.max() <= 2.0**-9 + 1.5 / spread, f"seed {seed}"


def test_the_rounded_peak_is_exact_in_the_scale():
    x = np.array([[-1000, 1000] * 16])
    gain = np.full(32, 256)
    np.testing.assert_allclose(normalised(x, gain, 1), np.sign(x), rtol=2**-10)


@pytest.mark.parametrize("value", [-32768, -1, 0, 7, 32767])
def test_constant_rows_become_zero(value):
    x = np.full((1, 192), value)
    np.testing.assert_array_equal(normalised(x, np.full(192, 32767), 9663), np.zeros((1, 192)))


def test_widest_rows_stay_within_their_widths():
    dim = 384
    x = np.array([[-32768] * (dim // 2) + [32767] * (dim // 2)])
    norm = norm_rows(x, np.full(dim, -32768), dim, round((1 << 24) / dim), (1 << 32) - 1)
    assert abs(norm.mean[0]) <= 1
    assert norm.scale.mantissa[0] < 1 << 16 and -64 <= norm.scale.exponent[0] < 64


def test_every_root_is_within_one_in_a_thousand():
    # One lane of 0 and no gain: the spread is epsilon, and the peak of 0 counts as 1.
    for epsilon in [*range(1, 5000), *(1 << bit for bit in range(13, 32)), (1 << 32) - 1]:
        norm = norm_rows(np.zeros((1, 1), np.int64), np.zeros(1, np.int64), 1, 1, epsilon)
        found = norm.scale.mantissa[0] * 2.0 ** (norm.scale.exponent[0] - 15)
        assert abs(found * epsilon**0.5 - 1) <= 2.0**-10, epsilon
