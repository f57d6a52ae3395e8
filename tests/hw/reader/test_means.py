# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer.norm import norm_rows
from moevit.hw.reader.means import Means
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

SEED = 42


def golden_means(x, dim, totals=None):
    """Means of rows ``x`` (rows, words, lanes)."""
    rows = x.reshape(len(x), -1)
    return norm_rows(rows, np.zeros(rows.shape[1], np.int64), dim, round(2**24 / dim), 1, totals).mean


def run(x, dim, packed=True):
    """Entries (mean, total) that rows ``x`` (rows, words, lanes) leave in the table."""
    unit, out, told = Means(replace(CONFIGS["8x8"], packed=packed)), [], []
    rows, words = x.shape[:2]
    flat = x.reshape(rows * words, -1)
    stored = len(flat) - 1 + unit.latency

    def step(ctx, cycle):
        here = cycle < len(flat)
        ctx.set(unit.valid, here)
        ctx.set(unit.inverse_dim, round(2**24 / dim))
        if here:
            ctx.set(unit.first, cycle % words == 0)
            ctx.set(unit.final, cycle % words == words - 1)
            ctx.set(unit.end, cycle == len(flat) - 1)
            ctx.set(unit.row, cycle // words)
            ctx.set(unit.word, flat[cycle].tolist())
        assert not ctx.get(unit.sums.enable)
        assert ctx.get(unit.measured) == (cycle > stored)
        if ctx.get(unit.found.valid):
            assert cycle == ctx.get(unit.found.payload.row) * words + words - 1 + unit.latency
            told.append(ctx.get(unit.found.payload.total))
        if cycle > stored + 1:
            entry = ctx.get(unit.read.data)
            out.append((entry.mean, entry.total))
            assert ctx.get(unit.mean.data) == entry.mean
        for port in (unit.read, unit.mean):
            ctx.set(port.enable, 1)
            ctx.set(port.address, max(cycle - stored - 1, 0) % rows)

    StreamBench(unit).play(step, stored + 2 + rows)
    totals = x.sum(axis=(1, 2))
    assert told == totals.tolist()
    assert out == list(zip(golden_means(x, dim), totals, strict=True))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "portable"])
@pytest.mark.parametrize("words", [1, 2, 3, 24])
def test_random_rows(words, packed):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    x = random.integers(-32768, 32768, (20, words, 8)) >> random.integers(0, 15, (20, 1, 1))
    run(x, 8 * words, packed)


def test_the_largest_sums():
    """2048 channels, all at either end."""
    x = np.full((2, 256, 8), -32768)
    x[0] = 32767
    run(x, 2048)


@pytest.mark.parametrize("name", ["8x8", "64x64"])
def test_sums_of_the_row_writer(name):
    """Any row in any cycle, some again and again, also with another sum than before.

    The mean can be read one cycle before the entry is written, the entry one cycle after that.
    """
    print(f"seed {SEED}")
    random, unit = np.random.default_rng(SEED), Means(CONFIGS[name])
    rows, dim, cycles = 6, 192, 200
    asked = random.integers(0, rows, cycles) * (random.random(cycles) < 0.7)  # row 0 stands for none
    total = random.integers(-(1 << 26), 1 << 26, cycles)
    means = golden_means(np.zeros((cycles, 1, 8), np.int64), dim, total)

    mean_at, entry_at = unit.latency_summed - 1, unit.latency_summed + 1

    def step(ctx, cycle):
        row = int(asked[cycle])
        ctx.set(unit.inverse_dim, round(2**24 / dim))
        ctx.set(unit.summed_row.valid, row > 0)
        ctx.set(unit.summed_row.payload, row)
        if cycle:
            ctx.set(unit.sums.data, int(total[cycle - 1]) if asked[cycle - 1] else 0x155_5555)
        assert ctx.get(unit.sums.enable) == (row > 0)
        assert not row or ctx.get(unit.sums.address) == row
        assert not ctx.get(unit.found.valid)
        assert not ctx.get(unit.measured)
        if cycle > mean_at and asked[cycle - mean_at - 1]:
            assert ctx.get(unit.mean.data) == means[cycle - mean_at - 1]
        if cycle > entry_at and asked[cycle - entry_at - 1]:
            entry = ctx.get(unit.read.data)
            assert (entry.mean, entry.total) == (means[cycle - entry_at - 1], total[cycle - entry_at - 1])
        for port, delay in ((unit.mean, mean_at), (unit.read, entry_at)):
            ctx.set(port.enable, cycle >= delay)
            ctx.set(port.address, int(asked[cycle - delay]) if cycle >= delay else 0)

    StreamBench(unit).play(step, cycles)
