# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.norm import norm_rows
from moevit.golden.integer.row_scale import peak_scale
from moevit.hw.reader.moments import SQUARES_DELAY, Moments
from moevit.spec.arrays import CONFIGS

SEED = 42


def run(clocked, x, dim, epsilon):
    """Means and roots of rows ``x`` (rows, words, lanes), as the table holds them."""
    unit, out = Moments(CONFIGS["8x8"]), []
    rows, words, _ = x.shape
    flat, inverse = x.reshape(rows * words, -1), round(2**24 / dim)
    stored = rows * words - 1 + unit.latency

    def step(ctx, cycle):
        here = cycle < len(flat)
        ctx.set(unit.valid, here)
        ctx.set(unit.dim, dim)
        ctx.set(unit.inverse_dim, inverse)
        ctx.set(unit.epsilon, epsilon)
        if here:
            ctx.set(unit.first, cycle % words == 0)
            ctx.set(unit.final, cycle % words == words - 1)
            ctx.set(unit.row, cycle // words)
            ctx.set(unit.word, flat[cycle].tolist())
        if 0 <= cycle - SQUARES_DELAY < len(flat):
            ctx.set(unit.squares, (flat[cycle - SQUARES_DELAY]**2).tolist())
        assert ctx.get(unit.measured) == (cycle > words - 1 + unit.latency)
        if cycle > stored + 1:
            entry = ctx.get(unit.read.data)
            out.append((entry.mean, entry.root.mantissa, entry.root.exponent))
            assert ctx.get(unit.mean.data) == entry.mean
        for port in (unit.read, unit.mean):
            ctx.set(port.enable, 1)
            ctx.set(port.address, max(cycle - stored - 1, 0) % rows)

    clocked(unit, stored + 2 + rows, step)
    # The golden scale is that of the peak times the root: recover it with a gain that makes the peak 256.
    golden = norm_rows(x.reshape(rows, -1), np.zeros(words * 8, np.int64), dim, inverse, epsilon)
    none = peak_scale(np.zeros(1))
    assert none.m[0] == 256
    return out, [(mean, mantissa, exponent) for mean, mantissa, exponent in zip(
        golden.mean, golden.scale.mantissa, golden.scale.exponent - none.e - 4, strict=True)]


def check(found, expected):
    """``expected`` has half the root, rounded."""
    assert [(mean, (root + 1) >> 1, exponent) for mean, root, exponent in found] == expected


@pytest.mark.parametrize("words", [1, 2, 3, 24])
def test_random_rows(clocked, words):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    x = random.integers(-32768, 32768, (20, words, 8)) >> random.integers(0, 15, (20, 1, 1))
    check(*run(clocked, x, 8 * words, 12345))


@pytest.mark.parametrize("epsilon", [1, 77, (1 << 32) - 1])
def test_no_variance(clocked, epsilon):
    x = np.zeros((5, 3, 8), np.int64) + np.array([0, 1, -1, 32767, -32768])[:, None, None]
    found, expected = run(clocked, x, 24, epsilon)
    check(found, expected)
    assert {entry[1:] for entry in found[:3]} == {found[0][1:]}


def test_the_largest_spread(clocked):
    """2048 channels, half of them at either end; and all at the lower end, for the largest sums."""
    x = np.full((2, 256, 8), -32768)
    x[0, :128] = 32767
    check(*run(clocked, x, 2048, 1))
