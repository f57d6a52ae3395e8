# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.rounding import round_shift
from moevit.golden.integer.row_scale import peak_scale
from moevit.hw.reader.norm_scale import NormScale
from moevit.spec.arrays import CONFIGS
from moevit.spec.tables import rsqrt_table

SEED = 43


@pytest.mark.parametrize("words", [1, 3])
def test_random_rows(clocked, words):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    rows = 24
    values = random.integers(-(1 << 24) + 1, 1 << 24, (rows, words, 8)) >> random.integers(0, 25, (rows, 1, 1))
    values[3] = 0
    means, exponents = random.integers(-32768, 32768, rows), random.integers(-22, 6, rows)
    roots = rsqrt_table()[random.integers(0, 1536, rows)]
    unit, flat, stored, table, done = NormScale(CONFIGS["8x8"]), values.reshape(rows * words, 8), [], [], []
    asked = None
    last = rows * words - 1 + unit.latency

    def step(ctx, cycle):
        nonlocal asked
        here = cycle < len(flat)
        ctx.set(unit.valid, here)
        if here:
            ctx.set(unit.first, cycle % words == 0)
            ctx.set(unit.final, cycle % words == words - 1)
            ctx.set(unit.end, cycle == len(flat) - 1)
            ctx.set(unit.row, cycle // words)
            ctx.set(unit.values, flat[cycle].tolist())
        if asked is not None:
            ctx.set(unit.moments.data, {"mean": int(means[asked]),
                                        "root": {"mantissa": int(roots[asked]), "exponent": int(exponents[asked])}})
        asked = ctx.get(unit.moments.address) if ctx.get(unit.moments.enable) else asked
        if ctx.get(unit.stored.valid):
            entry = ctx.get(unit.stored.payload)
            stored.append((entry.row, entry.mean))
            assert cycle == entry.row * words + words - 1 + unit.latency
        if ctx.get(unit.done):
            done.append(cycle)
        if cycle > last + 1:
            entry = ctx.get(unit.read.data)
            table.append((entry.peak.fraction + 256, entry.peak.e, entry.scale.mantissa, entry.scale.exponent))
        ctx.set(unit.read.enable, 1)
        ctx.set(unit.read.address, max(cycle - last - 1, 0) % rows)

    clocked(unit, last + 2 + rows, step)
    peak = peak_scale(np.abs(values).max(axis=(1, 2)))
    assert stored == [(row, means[row]) for row in range(rows)]
    assert table == list(zip(peak.m, peak.e, round_shift(peak.m * roots, 9), peak.e + 4 + exponents, strict=True))
    assert done == [last + 1]
