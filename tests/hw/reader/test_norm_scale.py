# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.norm import norm_rows
from moevit.hw.reader.norm_scale import NormScale
from moevit.hw.reader.operand_lanes import OperandLanes
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.formats import GAIN_SHIFT

from ...configs import TEST_CONFIGS

SEED = 43
SQUARES_DELAY = OperandLanes.latency_squares - OperandLanes.latency_values[0]  # after the first values


@pytest.mark.parametrize("name", ["8x8", "8x16_pairs", "8x16", "16x16", "64x64"])
@pytest.mark.parametrize("words", [1, 3])
def test_random_rows(name, words):
    print(f"seed {SEED}")
    config = TEST_CONFIGS[name]
    random, unit = np.random.default_rng(SEED), NormScale(config)
    rows, lanes = 24, config.k_lanes * config.norm_words
    dim, epsilon = words * lanes, 4321
    x = random.integers(-32768, 32768, (rows, dim)) >> random.integers(0, 16, (rows, 1))
    x[3] = 0
    gain = random.integers(-32768, 32768, dim)
    golden, totals = norm_rows(x, gain, dim, round(2**24 / dim), epsilon), x.sum(axis=1)
    values = ((x - golden.mean[:, None]) * gain + (1 << (GAIN_SHIFT - 1))) >> GAIN_SHIFT
    values, squares = values.reshape(-1, lanes), (x**2).reshape(-1, lanes)
    count, stored, table, done = len(values), [], [], []
    asked = None
    last = count - 1 + unit.latency

    def step(ctx, cycle):
        nonlocal asked
        ctx.set(unit.dim, dim)
        ctx.set(unit.epsilon, epsilon)
        ctx.set(unit.valid, cycle < count)
        if cycle < count:
            ctx.set(unit.first, cycle % words == 0)
            ctx.set(unit.final, cycle % words == words - 1)
            ctx.set(unit.end, cycle == count - 1)
            ctx.set(unit.row, cycle // words)
        for index, place in enumerate(range(0, lanes, config.k_lanes)):
            at = cycle - OperandLanes.latency_values[index] + OperandLanes.latency_values[0]
            for lane in range(place, place + config.k_lanes):
                ctx.set(unit.values[lane], int(values[at, lane]) if 0 <= at < count else -1 << 24)
        if 0 <= cycle - SQUARES_DELAY < count:
            ctx.set(unit.squares, squares[cycle - SQUARES_DELAY].tolist())
        if asked is not None:
            ctx.set(unit.means.data, {"mean": int(golden.mean[asked]), "total": int(totals[asked])})
        asked = ctx.get(unit.means.address) if ctx.get(unit.means.enable) else asked
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

    StreamBench(unit).play(step, last + 2 + rows)
    assert stored == list(enumerate(golden.mean))
    assert table == list(zip(golden.peak.m, golden.peak.e, golden.scale.mantissa, golden.scale.exponent, strict=True))
    assert done == [last + 1]
