# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.quant.errors import RangeError
from moevit.golden.quant.linear import bias_integers, quantise_weights, scale_and_shift


@given(st.lists(st.floats(1e-12, 6e4), min_size=1, max_size=8))
def test_scales_are_rounded_up_and_use_all_sixteen_bits(values):
    scale, shift = scale_and_shift("x", np.array(values))
    exact = np.ldexp(values, shift)
    assert (scale >= exact).all() and (scale < exact + 1).all()
    assert scale.max() <= 65535 and 0 <= shift <= 63
    assert shift == 63 or scale.max() >= 1 << 15


def test_a_value_just_below_a_power_of_two():
    scale, shift = scale_and_shift("x", np.array([1 - 2.0**-40, 0.25]))
    assert (scale.tolist(), shift) == ([32768, 8192], 15)


def test_too_steep_a_layer_is_refused():
    with pytest.raises(RangeError, match="fc1.weight: a step of its inputs is up to 1e"):
        quantise_weights("fc1", np.full((2, 2), 127.0), 1e6)


@pytest.mark.parametrize("compensated", [False, True])
def test_weights_come_back_and_are_symmetric(compensated):
    seed = 8
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(40, 24)) * np.logspace(-3, 0, 40)[:, None]
    unit = np.linspace(0.5, 2, 40)
    inputs = rng.normal(size=(500, 24))
    found = quantise_weights("x", weight, unit, gram=inputs.T @ inputs / 500 if compensated else None)
    step = found.column_scale * 2.0**-found.shift / unit
    assert np.abs(found.weight).max() == 127, f"seed {seed}"
    steps_off = np.abs(found.weight - weight / step[:, None])
    assert steps_off.max() <= (3 if compensated else 0.5 + 1e-9), f"seed {seed}"


def test_outputs_without_weights_stay_silent():
    weight = np.zeros((3, 4))
    weight[1] = 1.0
    for gram in (None, np.eye(4), np.zeros((4, 4))):
        found = quantise_weights("x", weight, 0.01, gram=gram)
        assert found.column_scale[[0, 2]].tolist() == [0, 0] and not found.weight[[0, 2]].any()
        assert (found.weight[1] == 127).all()
    silent = quantise_weights("x", np.zeros((2, 2)), 0.01)
    assert silent.shift == 63 and not silent.weight.any()


def test_a_stack_shares_one_shift():
    weight = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 0.1)])
    found = quantise_weights("x", weight, 0.01, gram=np.eye(2))
    assert found.weight.shape == (2, 2, 2) and (found.weight == 127).all()
    np.testing.assert_allclose(found.column_scale[0], found.column_scale[1] * 10, rtol=1e-3)


def test_bias_out_of_range_names_the_place():
    assert bias_integers("b", np.array([0.5, -64.0]), 512).tolist() == [256, -32768]
    with pytest.raises(RangeError, match=r"fc1.bias\[1, 0\] = 64 is 32768 as an integer, beyond -32768..32767"):
        bias_integers("fc1.bias", np.array([[0.0], [64.0]]), 512)
