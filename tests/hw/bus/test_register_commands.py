# SPDX-License-Identifier: Apache-2.0
"""START, RESET, what becomes of a run, and the interrupt."""

import pytest

from moevit.spec.registers import offset

from .registers_bench import DONE, ERROR, SETTINGS, Bench, bits


@pytest.fixture
def bench(kit):
    return Bench(kit)


def test_start_and_what_becomes_of_the_run(bench):
    async def testbench(ctx):
        unit = bench.unit
        assert await bench.control(ctx) == bits("IDLE", "READY")
        await bench.write(ctx, offset("CONTROL"), bits("START"))
        assert len(bench.starts.seen) == 1
        ctx.set(unit.idle, 0)
        assert await bench.control(ctx) == 0
        for _ in range(2):
            await bench.write(ctx, offset("CONTROL"), bits("START"))
        ctx.set(unit.idle, 1)
        await bench.pulse(ctx, unit.done)
        assert len(bench.starts.seen) == 1
        for _ in range(2):  # reading changes nothing
            assert await bench.control(ctx) == bits("IDLE", "READY", "DONE")
        await bench.write(ctx, offset("CONTROL"), bits("START"))
        assert len(bench.starts.seen) == 2
        ctx.set(unit.idle, 0)
        assert await bench.control(ctx) == 0
        await bench.pulse(ctx, unit.error)
        assert await bench.control(ctx) == bits("ERROR")
        ctx.set(unit.idle, 1)
        assert await bench.control(ctx) == bits("ERROR", "IDLE", "READY")
        await bench.write(ctx, offset("CONTROL"), bits("RESET"))
        assert len(bench.resets.seen) == 1
        ctx.set(unit.idle, 0)
        assert await bench.control(ctx) == 0
        await bench.write(ctx, offset("CONTROL"), bits("START"))
        await bench.pulse(ctx, unit.reset_done)
        ctx.set(unit.idle, 1)
        assert await bench.control(ctx) == bits("RESET_DONE", "IDLE", "READY")
        assert len(bench.starts.seen) == 2
        await bench.write(ctx, offset("CONTROL"), bits("START", "RESET"))  # RESET wins
        assert len(bench.starts.seen) == 2 and len(bench.resets.seen) == 2
        assert await bench.control(ctx) == bits("IDLE", "READY")
        await bench.write(ctx, offset("CONTROL"), 0xFFFF_FFFF ^ bits("START", "RESET"))
        assert await bench.control(ctx) == bits("IDLE", "READY")

    bench.run(testbench)


def test_a_second_start_right_behind_the_first(bench):  # before the machine could say that it is busy
    async def testbench(ctx):
        bus = bench.unit.bus
        ctx.set(bus.aw.payload.addr, offset("CONTROL"))
        ctx.set(bus.w.payload, {"data": bits("START"), "strb": 15})
        for signal in (bus.aw.valid, bus.w.valid, bus.b.ready):
            ctx.set(signal, 1)
        for _ in range(40):
            await ctx.tick()
            if bench.starts.seen:
                ctx.set(bench.unit.idle, 0)
        assert len(bench.starts.seen) == 1

    bench.run(testbench)


def test_settings_are_locked_during_a_run(bench):
    async def testbench(ctx):
        for register in SETTINGS:
            await bench.write(ctx, register.offset, 0x1111_0000 | register.offset)
        ctx.set(bench.unit.idle, 0)
        for register in SETTINGS:
            await bench.write(ctx, register.offset, 0xFFFF_FFFF)
        for register in SETTINGS:
            assert await bench.read(ctx, register.offset) == 0x1111_0000 | register.offset
        await bench.write(ctx, offset("INTERRUPT_ENABLE"), 3)  # interrupts are not
        assert await bench.read(ctx, offset("INTERRUPT_ENABLE")) == 3
        ctx.set(bench.unit.idle, 1)
        await bench.write(ctx, offset("GATES_LOW"), 5)
        assert await bench.read(ctx, offset("GATES_LOW")) == 5

    bench.run(testbench)


@pytest.mark.parametrize("globally", [0, 1])
@pytest.mark.parametrize("enable", range(4))
def test_interrupts(bench, globally, enable):
    async def testbench(ctx):
        unit = bench.unit
        await bench.write(ctx, offset("INTERRUPT_GLOBAL"), globally)
        await bench.write(ctx, offset("INTERRUPT_ENABLE"), enable)
        for event, signal in ((DONE, unit.done), (ERROR, unit.error)):
            await bench.pulse(ctx, signal)
            assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == event
            expected = int(globally and bool(enable & event))
            for _ in range(10):
                assert ctx.get(unit.interrupt) == expected
                await ctx.tick()
            assert bool(await bench.control(ctx) & bits("INTERRUPT")) == expected
            await bench.write(ctx, offset("INTERRUPT_STATUS"), 3 ^ event)  # the other bit
            assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == event
            await bench.write(ctx, offset("INTERRUPT_STATUS"), event)
            assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == 0
            assert not ctx.get(unit.interrupt)

    bench.run(testbench)


@pytest.mark.parametrize("when", range(8))
def test_no_event_is_lost_to_a_write_that_clears(bench, when):  # in every cycle around the write
    async def testbench(ctx):
        unit = bench.unit
        await bench.pulse(ctx, unit.done)
        ctx.set(unit.bus.aw.payload.addr, offset("INTERRUPT_STATUS"))
        ctx.set(unit.bus.w.payload, {"data": DONE, "strb": 15})
        ctx.set(unit.bus.b.ready, 1)
        cleared = None
        for cycle in range(12):
            ctx.set(unit.bus.aw.valid, int(cycle == 2))
            ctx.set(unit.bus.w.valid, int(cycle == 2))
            ctx.set(unit.done, int(cycle == when))
            await ctx.tick()
            if ctx.get(unit.bus.b.valid) and cleared is None:
                cleared = cycle  # the write took effect in this cycle
        assert cleared == 3
        assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == (DONE if when >= cleared else 0)

    bench.run(testbench)
