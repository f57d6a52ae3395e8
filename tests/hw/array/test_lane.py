# SPDX-License-Identifier: Apache-2.0
"""Both lanes against numpy, with the largest magnitudes in all sign combinations."""

from itertools import product

import numpy as np
import pytest

from moevit.hw.array.lane import DSP48E1, DSP48E2, DotProduct, PackedDotProduct, Packing, lane_latency, sum_bits
from moevit.sim.bench.stream_bench import StreamBench


def dots_of(lane, weights: np.ndarray, operands: np.ndarray) -> np.ndarray:
    """Dot products (rows, columns), a new tile in every cycle; weights (rows, columns, k), operands (rows, k)."""
    rows, columns, k_lanes = weights.shape
    held = 1 if isinstance(lane, DotProduct) else 0  # the unpacked lane takes its weights one cycle after swap
    seen = []

    def step(ctx, cycle):
        swap = 0
        for k in range(k_lanes):
            position = k // lane.stride
            swap |= (0 <= cycle - position < rows) << position
            if 0 <= cycle - position - held < rows:
                for column in range(columns):
                    ctx.set(lane.weights[column][k], int(weights[cycle - position - held, column, k]))
            if 0 <= cycle - position - 1 < rows:
                ctx.set(lane.operands[k], int(operands[cycle - position - 1, k]))
        ctx.set(lane.swap, swap)
        if cycle >= lane.latency:
            seen.append(list(ctx.get(lane.dots)))

    StreamBench(lane).play(step, rows + lane.latency)
    return np.array(seen)


def check(packing: Packing, weights: np.ndarray, operands: np.ndarray) -> None:
    expected = np.einsum("rck,rk->rc", weights, operands)
    k_lanes = operands.shape[1]
    np.testing.assert_array_equal(dots_of(PackedDotProduct(k_lanes, packing), weights, operands), expected)
    np.testing.assert_array_equal(
        dots_of(DotProduct(k_lanes, packing), weights[:, :1], operands), expected[:, :1])


@pytest.mark.parametrize("packing", [DSP48E2, DSP48E1, Packing(port=27, shift=19, group=8)])
def test_all_signs_of_the_largest_magnitudes(packing):
    """Every sign of both weights and the operand, the same in the whole chain: the fields at both their ends."""
    corners = np.array(list(product((-127, 0, 127), (-127, 0, 127), (-255, 0, 255))))
    ones = np.ones(packing.group, np.int64)
    check(packing, corners[:, :2, None] * ones, corners[:, 2:] * ones)


@pytest.mark.parametrize("packing", [DSP48E2, DSP48E1])
def test_all_sign_patterns_in_a_chain(packing):
    """Each product of both columns at either end, independently: 4^group patterns."""
    signs = np.array(list(product((-1, 1), repeat=2 * packing.group)))
    weights = 127 * signs.reshape(len(signs), 2, packing.group)
    for operand in (-255, 255):
        check(packing, weights, np.full((len(signs), packing.group), operand))


@pytest.mark.parametrize("packing", [DSP48E2, DSP48E1])
@pytest.mark.parametrize("k_lanes", [8, 16])
def test_random(packing, k_lanes):
    print("seed 1")
    rng = np.random.default_rng(1)
    check(packing, rng.integers(-127, 128, (100, 2, k_lanes)), rng.integers(-255, 256, (100, k_lanes)))


@pytest.mark.parametrize("small", [1, -1])
def test_borrow_of_a_small_low_field(small):
    """A low field of -1 must take nothing from the high field, one of 1 must not either."""
    weights = np.array([[[small] * 4, [high] * 4] for high in range(-127, 128)])
    check(DSP48E2, weights, np.ones((255, 4), np.int64))


def test_sum_bits():
    assert [sum_bits(products) for products in (1, 4, 64)] == [16, 18, 22]


@pytest.mark.parametrize(("choice", "message"), [
    ({"port": 27, "shift": 18, "group": 8}, "a sum of 8 products needs 19 bits"),
    ({"port": 25, "shift": 17, "group": 4}, "a sum of 4 products needs 18 bits"),
    ({"port": 25, "shift": 18, "group": 4}, "do not fit the multiplier's 25-bit port"),
    ({"port": 27, "shift": 18, "group": 3}, "power of two, not 3"),
])
def test_packing_that_would_not_be_exact(choice, message):
    with pytest.raises(ValueError, match=message):
        Packing(**choice)


@pytest.mark.parametrize("k_lanes", [2, 12])
def test_lanes_that_make_no_equal_chains(k_lanes):
    with pytest.raises(ValueError, match=f"at least the group of 4, not {k_lanes}"):
        lane_latency(k_lanes, DSP48E2)
