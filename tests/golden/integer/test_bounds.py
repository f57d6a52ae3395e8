# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.integer.bounds import Bound, BoundsError, Interval, check, model_bounds
from moevit.golden.quant.synthetic import synthetic_model
from moevit.spec.networks import NETWORKS, Network
from moevit.spec.quantised import QuantisedModel, tensor_shapes

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


def worst_model(network: Network, **replaced: np.ndarray) -> QuantisedModel:
    """A model with the largest possible weights, and shifts at least as large as every row exponent."""
    most = {"int8": 127, "int16": 16319, "uint16": 65535, "uint8": 40, "uint32": 1}
    tensors = {name: np.full(shape, most[dtype], dtype) for name, (shape, dtype) in tensor_shapes(network).items()}
    for block in filter(network.is_moe, range(network.depth)):
        tensors[f"blocks.{block}.moe.order"] = np.arange(network.experts, dtype=np.uint8)
        tensors[f"blocks.{block}.moe.speculate"] = np.uint8(0)
    return QuantisedModel(network, {**tensors, **replaced}, 8)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_weights_of_a_named_network_can_overflow(name):
    check(model_bounds(worst_model(NETWORKS[name])))


def test_quantised_models_use_less_than_half_of_the_accumulator():
    bounds = model_bounds(synthetic_model(NETWORKS["demo"], 3))
    check(bounds)
    accumulators = [bound for bound in bounds if bound.name.endswith(".fc2 accumulator")]
    assert len(accumulators) == 4 and all(bound.used < 0.5 for bound in accumulators)


SMALL = NETWORKS["tiny_test"]


def bound_of(model: QuantisedModel, name: str) -> Bound:
    return next(bound for bound in model_bounds(model) if bound.name == name)


def test_weights_decide_whether_a_long_sum_holds():
    """263,172 x 255 is the last multiple of 255 below 2^26: 2,072 weights of 127 and one of 28."""
    network = dataclasses.replace(SMALL, name="long", hidden=2304, experts=0, top_k=0, expert_hidden=0)
    name = "blocks.0.mlp.fc2"
    weight = np.zeros((network.dim, network.hidden), np.int8)
    weight[3, 100:2172], weight[3, 0] = 127, -28
    model = worst_model(network, **{f"{name}.weight": weight})
    whole = bound_of(model, f"{name} accumulator")
    assert whole.holds and whole.reached.high == 255 * 263_172
    weight[3, 0] = -29
    bounds = model_bounds(worst_model(network, **{f"{name}.weight": weight}))
    check(bounds)
    parts = [bound for bound in bounds if bound.name.startswith(name) and "accumulator" in bound.name]
    assert [(bound.name, bound.reached.high // 255) for bound in parts] == [
        (f"{name}[0] accumulator", 29 + 1052 * 127), (f"{name}[1] accumulator", 1020 * 127)]


def test_too_many_channels_for_the_mean():
    with pytest.raises(BoundsError, match="norm squares"):
        check(model_bounds(worst_model(dataclasses.replace(SMALL, name="wide", dim=2048, heads=64))))
    check(model_bounds(worst_model(dataclasses.replace(SMALL, name="wide", dim=2047, heads=23))))


def test_too_many_tokens_for_a_product_of_exponentials_and_values():
    long = dataclasses.replace(SMALL, name="long", height=16, width=8 * 1036)
    with pytest.raises(BoundsError, match=r"^mix accumulator reaches -67134105..67134105"):
        check(model_bounds(worst_model(long)))


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
