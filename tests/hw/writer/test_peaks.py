# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.writer.peaks import PeakTable
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Peak


@pytest.mark.parametrize("name", ["8x8", "32x32"])
def test_few_entries_in_any_order(name):
    """Three entries, so that one often comes again in the next cycles; compared after every write."""
    config, seed = CONFIGS[name], 3
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    unit, count = PeakTable(config), 300
    words = random.integers(-32768, 32768, (count, config.k_lanes)) >> random.integers(0, 16, (count, 1))
    words[random.random(count) < 0.1] = -32768
    entries, starts = random.integers(0, 3, count), random.random(count) < 0.1
    kinds = np.where(random.random(count) < 0.5, Peak.ABSOLUTE, Peak.MAXIMUM)
    lanes = random.integers(1, config.k_lanes + 1, count)
    enables = random.random(count) < 0.8
    table, history = [0, 0, 0], []
    for word, entry, start, kind, lane, enable in zip(words, entries, starts, kinds, lanes, enables, strict=True):
        if enable:
            peak = (np.abs(word[:lane]) if kind == Peak.ABSOLUTE else word[:lane]).max()
            table[entry] = peak if start else max(table[entry], peak)
        history.append(table[entry])

    async def bench(ctx):
        ctx.set(unit.read.enable, 1)
        for cycle in range(count + unit.latency + 1):
            index = cycle if cycle < count else 0
            for port, values in ((unit.entry, entries), (unit.start, starts), (unit.kind, kinds), (unit.lanes, lanes)):
                ctx.set(port, int(values[index]))
            ctx.set(unit.word, [int(value) for value in words[index]])
            ctx.set(unit.enable, bool(enables[index]) and cycle < count)
            # The entry of the word that was written in the cycle before this one.
            written = cycle - unit.latency - 1
            if written >= 0:
                ctx.set(unit.read.address, int(entries[written]))
            await ctx.tick()
            if written >= 0:
                assert ctx.get(unit.read.data) == history[written], f"word {written}"

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
