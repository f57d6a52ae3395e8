# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.norm import norm_rows
from moevit.golden.integer.row_scale import peak_scale
from moevit.hw.reader.inverse_std import InverseStd
from moevit.sim.bench.stream_bench import StreamBench

SEED = 44


def check(x, dim, epsilon, totals=None, dsp48=True):
    """Roots of rows ``x`` (rows, words, lanes) are golden ones; returns them."""
    rows, words, lanes = x.shape
    unit, out = InverseStd(lanes, dsp48=dsp48), []
    flat, totals = x.reshape(rows * words, -1), x.sum(axis=(1, 2)) if totals is None else totals

    def step(ctx, cycle):
        here, summed = cycle < len(flat), cycle - unit.total_delay
        ctx.set(unit.valid, here)
        ctx.set(unit.dim, dim)
        ctx.set(unit.epsilon, epsilon)
        if here:
            ctx.set(unit.first, cycle % words == 0)
            ctx.set(unit.final, cycle % words == words - 1)
            ctx.set(unit.squares, (flat[cycle]**2).tolist())
        if 0 <= summed < len(flat):  # at no other time
            ctx.set(unit.total, int(totals[summed // words]) if summed % words == words - 1 else 0x155_5555)
        if ctx.get(unit.root.valid):
            assert cycle == len(out) * words + words - 1 + unit.latency
            out.append((ctx.get(unit.root.payload.mantissa), ctx.get(unit.root.payload.exponent)))

    StreamBench(unit).play(step, len(flat) + unit.latency)
    # The golden scale is that of the peak times the root: a gain of 0 makes the peak 256 at an exponent of its own.
    golden = norm_rows(x.reshape(rows, -1), np.zeros(words * lanes, np.int64), dim, round(2**24 / dim), epsilon, totals)
    none = peak_scale(np.zeros(1))
    assert none.m[0] == 256
    assert [((root + 1) >> 1, exponent) for root, exponent in out] == list(
        zip(golden.scale.mantissa, golden.scale.exponent - none.e - 4, strict=True))
    return out


@pytest.mark.parametrize("dsp48", [True, False])
@pytest.mark.parametrize("words, lanes", [(1, 8), (2, 8), (3, 8), (24, 8), (2, 24)])
def test_random_rows(words, lanes, dsp48):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    x = random.integers(-32768, 32768, (20, words, lanes)) >> random.integers(0, 15, (20, 1, 1))
    check(x, lanes * words, 12345, dsp48=dsp48)


@pytest.mark.parametrize("dsp48", [True, False])
@pytest.mark.parametrize("epsilon", [1, 77, (1 << 32) - 1])
def test_no_variance(epsilon, dsp48):
    x = np.zeros((5, 3, 8), np.int64) + np.array([0, 1, -1, 32767, -32768])[:, None, None]
    assert len(set(check(x, 24, epsilon, dsp48=dsp48))) == 1


def test_the_largest_variance():
    """2048 channels, half of them at either end; and all at the lower end, for the largest sums."""
    x = np.full((2, 256, 8), -32768)
    x[0, :128] = 32767
    check(x, 2048, 1)


def test_sums_that_are_not_the_rows():
    """The difference is cut to its width. It may be below zero, and zero itself (2^2 - 5 + 1)."""
    x = np.zeros((4, 1, 8), np.int64)
    x[3, 0, :3] = 1
    assert check(x, 1, 1, np.array([-(1 << 26), 1, 12345, 2]))[1] == (0, 5)
