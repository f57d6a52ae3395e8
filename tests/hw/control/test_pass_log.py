# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.control.pass_log import PassLog
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.registers import PASS_LOG_ENTRIES, pack_log


class Bench:
    def __init__(self, depth=64):
        self.unit = PassLog(depth)

    def run(self, testbench):
        async def clock(ctx):
            cycle = 0
            while True:
                await ctx.tick()
                cycle += 1
                ctx.set(self.unit.cycle, cycle)

        StreamBench(self.unit, background=[clock]).simulate(testbench)

    async def start(self, ctx, started):
        """Offer one dispatched instruction for one cycle; True when it was taken."""
        ctx.set(self.unit.started.payload, started)
        ctx.set(self.unit.started.valid, 1)
        _, _, ready = await ctx.tick().sample(self.unit.started.ready)
        ctx.set(self.unit.started.valid, 0)
        return ready

    async def finish(self, ctx, count=1):
        """``count`` instructions finish in one cycle; returns the cycle counter of the cycle after."""
        ctx.set(self.unit.done, count)
        await ctx.tick()
        ctx.set(self.unit.done, 0)
        return ctx.get(self.unit.cycle)

    async def entry(self, ctx, index):
        """The two words of an entry as the register file sees them."""
        ctx.set(self.unit.read.address, index)
        ctx.set(self.unit.read.enable, 1)
        await ctx.tick()
        ctx.set(self.unit.read.enable, 0)
        value = ctx.get(self.unit.read.data.as_value())
        return value & 0xFFFF_FFFF, value >> 32


def started(rng):
    return {"pc": rng.randrange(8192), "expert": rng.randrange(32), "rows": rng.randrange(4096)}


@pytest.mark.parametrize("seed", range(3))
def test_entries_in_the_order_of_dispatch(seed):
    rng = random.Random(seed)
    bench = Bench()

    async def testbench(ctx):
        sent, ended, expected = [], 0, []
        for _ in range(300):
            if rng.random() < 0.5 and len(sent) - ended < 60:
                info = started(rng)
                assert await bench.start(ctx, info)
                sent.append(info)
            if rng.random() < 0.3:
                count = min(rng.choice([1, 1, 2, 3, 5]), len(sent) - ended)
                cycle = await bench.finish(ctx, count)
                expected += [(cycle + i, pack_log(**sent[ended + i])) for i in range(count)]
                ended += count
                await ctx.tick().repeat(count + 1)
        assert ctx.get(bench.unit.finished) == ended > 50
        assert [await bench.entry(ctx, i) for i in range(ended)] == expected

    bench.run(testbench)


def test_back_to_back():
    bench = Bench(8)

    async def testbench(ctx):
        for i in range(8):
            assert await bench.start(ctx, {"pc": i, "expert": 0, "rows": 0})
        assert not await bench.start(ctx, {"pc": 99, "expert": 0, "rows": 0})  # full
        first = await bench.finish(ctx)
        for _ in range(7):
            await bench.finish(ctx)
        await ctx.tick()
        entries = [await bench.entry(ctx, i) for i in range(8)]
        assert entries == [(first + i, pack_log(pc=i, expert=0, rows=0)) for i in range(8)]
        assert await bench.start(ctx, {"pc": 99, "expert": 0, "rows": 0})

    bench.run(testbench)


def test_clear_starts_afresh():
    bench = Bench()

    async def testbench(ctx):
        for i in range(5):
            await bench.start(ctx, {"pc": i, "expert": 1, "rows": 2})
        await bench.finish(ctx, 3)
        ctx.set(bench.unit.clear, 1)
        await ctx.tick()
        ctx.set(bench.unit.clear, 0)
        await ctx.tick().repeat(5)
        assert ctx.get(bench.unit.finished) == 0
        await bench.start(ctx, {"pc": 77, "expert": 3, "rows": 4})
        cycle = await bench.finish(ctx)
        await ctx.tick()
        assert ctx.get(bench.unit.finished) == 1
        assert await bench.entry(ctx, 0) == (cycle, pack_log(pc=77, expert=3, rows=4))

    bench.run(testbench)


def test_entries_beyond_the_window_are_dropped_and_counted():
    bench = Bench()

    async def testbench(ctx):
        for i in range(PASS_LOG_ENTRIES + 10):
            await bench.start(ctx, {"pc": i, "expert": 0, "rows": 0})
            await bench.finish(ctx)
        await ctx.tick()
        assert ctx.get(bench.unit.finished) == PASS_LOG_ENTRIES + 10
        for index in (0, 1, 9, 10, PASS_LOG_ENTRIES - 1):
            assert (await bench.entry(ctx, index))[1] == pack_log(pc=index, expert=0, rows=0)

    bench.run(testbench)


def test_latency():
    """``finished`` counts, and the entry can be read, `latency` cycles after the instruction finished."""
    bench = Bench()

    async def testbench(ctx):
        await bench.start(ctx, {"pc": 5, "expert": 0, "rows": 1})
        await bench.finish(ctx)
        for _ in range(PassLog.latency - 1):
            assert not ctx.get(bench.unit.finished)
            await ctx.tick()
        assert ctx.get(bench.unit.finished) == 1
        assert (await bench.entry(ctx, 0))[1] == pack_log(pc=5, expert=0, rows=1)

    bench.run(testbench)


def test_arguments_are_checked(unused_allowed):
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        PassLog(0)
