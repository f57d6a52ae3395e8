# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.integer.bounds import BoundsError, Interval, check, model_bounds, network_bounds
from moevit.golden.quant.synthetic import synthetic_model
from moevit.spec.networks import NETWORKS

ranges = st.tuples(st.integers(-1000, 1000), st.integers(0, 1000)).map(lambda pair: Interval(pair[0], sum(pair)))


def inside(interval: Interval, share: float) -> int:
    return round(interval.low + share * (interval.high - interval.low))


@given(ranges, ranges, st.floats(0, 1), st.floats(0, 1), st.integers(0, 12))
def test_intervals_contain_what_they_should(a, b, at_a, at_b, shift):
    x, y = inside(a, at_a), inside(b, at_b)
    half = (1 << shift) >> 1
    for interval, value in ((a + b, x + y), (a - b, x - y), (a * b, x * y), (a.times(3), x), (a.times(3), 3 * x),
                            (a.round_shift(shift), (x + half) >> shift)):
        assert interval.low <= value <= interval.high


@pytest.mark.parametrize("name", NETWORKS)
def test_no_named_network_can_overflow(name):
    check(network_bounds(NETWORKS[name]))


@pytest.mark.parametrize("name", ["tiny_test", "demo"])
def test_quantised_models_are_within_their_networks_bounds(name):
    model = synthetic_model(NETWORKS[name], 3)
    bounds = model_bounds(model)
    check(bounds)
    worst = {bound.name: bound.used for bound in network_bounds(model.network)}
    accumulators = [bound for bound in bounds if bound.name.endswith(".fc2 accumulator")]
    assert accumulators and all(bound.used < worst["mlp.fc2 accumulator"] for bound in accumulators)


def test_too_long_a_sum_is_refused():
    network = dataclasses.replace(NETWORKS["m3vit_tiny"], hidden=3000)
    with pytest.raises(BoundsError, match=r"^mlp.fc2 accumulator reaches -97155000..97155000"):
        check(network_bounds(network))


def test_longest_sum_that_fits():
    longest = dataclasses.replace(NETWORKS["m3vit_tiny"], hidden=2072)
    check(network_bounds(longest))
    with pytest.raises(BoundsError):
        check(network_bounds(dataclasses.replace(longest, hidden=2073)))


def test_too_many_channels_for_the_mean():
    with pytest.raises(BoundsError, match="norm squares"):
        check(network_bounds(dataclasses.replace(NETWORKS["m3vit_tiny"], dim=2049, heads=3)))


def test_a_shift_that_a_row_scale_could_exceed_is_refused():
    model = synthetic_model(NETWORKS["tiny_test"], 3)
    tensors = {**model.tensors, "blocks.0.attn.proj.shift": np.array(15, np.uint8)}
    with pytest.raises(BoundsError, match=r"blocks.0.attn.proj.shift reaches -1..15"):
        check(model_bounds(dataclasses.replace(model, tensors=tensors)))


def test_norm_exponents_of_a_frame_stay_within_their_bound():
    from moevit.golden.integer.bounds import _norm_exponent
    from moevit.golden.integer.norm import norm_rows

    seed = 9
    rng = np.random.default_rng(seed)
    model = synthetic_model(NETWORKS["tiny_test"], 3)
    gain, epsilon = model["blocks.0.norm1.gain"].astype(np.int64), int(model["blocks.0.norm1.epsilon"])
    rows = [rng.normal(0, spread, (200, 32)) for spread in (0.0, 0.3, 1, 5, 30, 3000, 30000)]
    spikes = np.zeros((64, 32))
    spikes[np.arange(64), np.arange(64) % 32] = np.repeat([1, 32767], 32)
    x = np.clip(np.rint(np.concatenate([*rows, spikes])), -32768, 32767).astype(np.int64)
    reached = norm_rows(x, gain, 32, 1 << 19, epsilon).scale.exponent.max()
    bound = _norm_exponent(model, "blocks.0.norm1")
    assert bound - 2 <= reached <= bound, f"seed {seed}"
