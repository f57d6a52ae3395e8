# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.writer.row_sums import RowSums
from moevit.spec.arrays import CONFIGS


@pytest.mark.parametrize("name", ["8x8", "32x32"])
def test_few_rows_in_any_order(name):
    """Three rows, so that one often comes again in the next cycles; compared after every write."""
    config, seed = CONFIGS[name], 5
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    unit, count = RowSums(config), 400
    old, word = random.integers(-32768, 32768, (2, count, config.k_lanes)) >> random.integers(0, 16, (2, count, 1))
    old[:9], word[:9] = 32767, -32768
    rows, enables = random.integers(0, 3, count), random.random(count) < 0.8
    start, table, history = [5, (1 << 26) - 1, -(1 << 26)], [], []
    table = list(start)
    for change, row, enable in zip((word - old).sum(axis=1).tolist(), rows, enables, strict=True):
        if enable:
            table[row] = (table[row] + change + (1 << 26)) % (1 << 27) - (1 << 26)
        history.append(table[row])

    async def bench(ctx):
        ctx.set(unit.read.enable, 1)
        for row, total in enumerate(start):
            ctx.set(unit.set.valid, 1)
            ctx.set(unit.set.payload, {"row": row, "total": total})
            await ctx.tick()
        ctx.set(unit.set.valid, 0)
        for cycle in range(count + unit.latency + 1):
            index = cycle if cycle < count else 0
            ctx.set(unit.row, int(rows[index]))
            ctx.set(unit.old, old[index].tolist())
            ctx.set(unit.word, word[index].tolist())
            ctx.set(unit.enable, bool(enables[index]) and cycle < count)
            # The row of the word that was written in the cycle before this one.
            written = cycle - unit.latency - 1
            if written >= 0:
                ctx.set(unit.read.address, int(rows[written]))
            await ctx.tick()
            if written >= 0:
                assert ctx.get(unit.read.data) == history[written], f"word {written}"

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
