# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.norm import norm_rows
from moevit.hw.reader.means import Means
from moevit.spec.arrays import CONFIGS

SEED = 42


def run(clocked, x, dim, summed=False):
    """Entries (mean, total) that rows ``x`` (rows, words, lanes) leave in the table; ``summed``: after a word each,
    which says nothing."""
    unit, out, told, asked = Means(CONFIGS["8x8"]), [], [], None
    rows, words = x.shape[0], 1 if summed else x.shape[1]
    totals = x.sum(axis=(1, 2))
    flat = np.full((rows, 8), 9) if summed else x.reshape(rows * words, -1)
    stored = rows * words - 1 + unit.latency

    def step(ctx, cycle):
        nonlocal asked
        here = cycle < len(flat)
        ctx.set(unit.valid, here)
        ctx.set(unit.summed, summed)
        ctx.set(unit.inverse_dim, round(2**24 / dim))
        if here:
            ctx.set(unit.first, cycle % words == 0)
            ctx.set(unit.final, cycle % words == words - 1)
            ctx.set(unit.end, cycle == len(flat) - 1)
            ctx.set(unit.row, cycle // words)
            ctx.set(unit.word, flat[cycle].tolist())
        if asked is not None:
            ctx.set(unit.sums.data, int(totals[asked]))
        asked = ctx.get(unit.sums.address) if ctx.get(unit.sums.enable) else None
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

    clocked(unit, stored + 2 + rows, step)
    assert told == totals.tolist()
    golden = norm_rows(x.reshape(rows, -1), np.zeros(x.shape[1] * 8, np.int64), dim, round(2**24 / dim), 1)
    assert out == list(zip(golden.mean, totals, strict=True))


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("words", [1, 2, 3, 24])
def test_random_rows(clocked, words, summed):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    x = random.integers(-32768, 32768, (20, words, 8)) >> random.integers(0, 15, (20, 1, 1))
    run(clocked, x, 8 * words, summed)


def test_the_largest_sums(clocked):
    """2048 channels, all at either end."""
    x = np.full((2, 256, 8), -32768)
    x[0] = 32767
    run(clocked, x, 2048)
