# SPDX-License-Identifier: Apache-2.0
"""A hard reset (aresetn) while bursts are under way: the bus may still owe answers, which must do no harm."""

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib.wiring import Component, Out

from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.write_master import WriteMaster
from moevit.spec.arrays import CONFIGS

BASE = 0x1000


class Resettable(Component):
    """A unit with a reset that the test holds."""

    unused: Out(1)

    def __init__(self, unit):
        super().__init__()
        self.unit = unit
        self.reset = Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = ResetInserter(self.reset)(self.unit)
        return m


@pytest.mark.parametrize("after", range(8, 40, 3))
def test_read_master(kit, after):
    unit = ReadMaster(CONFIGS["8x8"])
    top = Resettable(unit)
    slave = kit.ReadSlave(unit.bus, 8, latency=6)
    source = kit.Source(unit.command, [{"address": BASE, "beats": 100}])
    sink = kit.BeatsSink(unit.beats)
    faults = kit.Pulses(unit.fault.valid)

    async def testbench(ctx):
        ctx.set(unit.limit, 1 << 40)
        await ctx.tick().repeat(after)
        source.clear()
        ctx.set(top.reset, 1)
        await ctx.tick()
        ctx.set(top.reset, 0)
        slave.reset()
        assert not ctx.get(unit.bus.ar.valid) and not ctx.get(unit.beats.available)
        await kit.until(ctx, lambda: not slave.beats)
        await ctx.tick().repeat(5)
        del sink.items[:]
        source.items.append({"address": BASE + 800, "beats": 30})
        await kit.until(ctx, lambda: len(sink.items) == 30)
        assert sink.items == [slave.data(BASE + 800 + 8 * i) for i in range(30)]

    kit.simulate(top, testbench, slave, source, sink, faults)
    assert not faults.seen


@pytest.mark.parametrize("after", range(8, 40, 3))
def test_write_master(kit, after):
    unit = WriteMaster(CONFIGS["8x16"])
    top = Resettable(unit)
    slave = kit.WriteSlave(unit.bus, 16, latency=6)
    source = kit.Source(unit.command, [{"address": BASE, "words": 50}])
    words = kit.Source(unit.words, [[i] * 8 for i in range(50)])
    faults, done = kit.Pulses(unit.fault.valid), kit.Pulses(unit.done)

    async def testbench(ctx):
        ctx.set(unit.limit, 1 << 40)
        await ctx.tick().repeat(after)
        source.clear()
        words.clear()
        ctx.set(top.reset, 1)
        await ctx.tick()
        ctx.set(top.reset, 0)
        slave.reset()
        assert not ctx.get(unit.bus.aw.valid) and not ctx.get(unit.bus.w.valid)
        await kit.until(ctx, lambda: not slave.answers)
        await ctx.tick().repeat(5)
        slave.memory.clear()
        done.seen.clear()
        source.items.append({"address": BASE + 800, "words": 20})
        words.items.extend([[100 + i] * 8 for i in range(20)])
        await kit.until(ctx, lambda: done.seen)
        assert slave.memory == {BASE + 800 + 16 * i + j: (100 + i if j % 2 == 0 else 0)
                                for i in range(20) for j in range(16)}

    kit.simulate(top, testbench, slave, source, words, faults, done)
    assert not faults.seen
