# SPDX-License-Identifier: Apache-2.0
"""The read master over several ports: its stream, its faults and its abort, whichever port is late or wrong."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from moevit.hw.bus.axi import ReadChannels
from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.fault import fault_layout
from moevit.hw.interfaces import Flow, NextBeats
from moevit.hw.layouts import command_layout
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS
from .spread_bench import BASE


class Reader(Component):
    """The read master with its ports."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "beats": Out(NextBeats(config)),
            "narrow": Out(ReadChannels(config.port_bytes)).array(config.ports),
            "abort": In(1),
            "drained": Out(1),
            "fault": Out(Flow(fault_layout())),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.master = master = ReadMaster(self.config)
        m.submodules.spread = spread = SpreadRead(self.config.bus_bytes, self.config.ports)
        connect(m, flipped(self.command), master.command)
        connect(m, master.beats, flipped(self.beats))
        connect(m, master.bus, spread.wide)
        connect(m, master.fault, flipped(self.fault))
        for narrow, port in zip(spread.narrow, self.narrow, strict=True):
            connect(m, narrow, flipped(port))
        m.d.comb += [master.limit.eq((1 << 64) - 1), master.abort.eq(self.abort),
                     self.drained.eq(master.drained & spread.drained)]
        return m


class ReaderBench:
    def __init__(self, kit, name, commands, *, seed=0, stall=0.0, latencies=(20, 20, 20, 20), **slave):
        self.kit, self.config = kit, TEST_CONFIGS[name]
        self.unit = Reader(self.config)
        self.slaves = [kit.ReadSlave(bus, self.config.port_bytes, seed=seed + index, stall=stall,
                                     latency=latencies[index], **slave)
                       for index, bus in enumerate(self.unit.narrow)]
        self.source = kit.Source(self.unit.command, [{"address": a, "beats": n} for a, n in commands])
        self.sink = kit.BeatsSink(self.unit.beats, seed=seed + 50, stall=stall)
        self.faults = kit.Pulses(self.unit.fault.valid, self.unit.fault.payload.code, self.unit.fault.payload.address)

    def expected(self, address, beats):
        """The beats in as many bus beats."""
        size, part = self.config.beat_bytes, self.config.port_bytes
        return [sum(self.slaves[0].data(at + offset) << 8 * offset for offset in range(0, size, part))
                for at in range(address, address + beats * self.config.bus_bytes, size)]

    def run(self, testbench):
        self.kit.simulate(self.unit, testbench, *self.slaves, self.source, self.sink, self.faults)

    async def abort(self, ctx):
        """Until the machine says that nothing is under way; then nothing may be."""
        self.source.clear()
        ctx.set(self.unit.abort, 1)
        await ctx.tick()
        ctx.set(self.unit.abort, 0)
        await ctx.tick()
        await self.kit.until(ctx, lambda: ctx.get(self.unit.drained), 4000)
        for slave in self.slaves:
            assert not slave.beats and not ctx.get(slave.bus.ar.valid)

    async def works_again(self, ctx):
        del self.sink.items[:], self.faults.seen[:]
        for slave in self.slaves:
            slave.last, slave.respond = {}, {}
        self.source.items.append({"address": BASE + 0x800, "beats": 70})
        await self.kit.until(ctx, lambda: len(self.sink.items) >= 70 * self.config.bus_beats)
        await ctx.tick().repeat(40)
        assert self.sink.items == self.expected(BASE + 0x800, 70)
        assert not self.faults.seen


#: Two ports; four, and beats of the bus that are two of the stream.
READERS = ["8x16", "32x32"]
PORTS = [("8x16", 0), ("8x16", 1), ("32x32", 0), ("32x32", 2), ("32x32", 3)]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("stall, seed", [(0.0, 1), (0.5, 2)])
def test_the_stream_is_in_order(kit, name, stall, seed):
    rng = random.Random(seed)
    size = TEST_CONFIGS[name].bus_bytes
    commands = [(BASE + rng.randrange(500) * size, beats) for beats in (1, 0, 15, 33, rng.randrange(100))]
    bench = ReaderBench(kit, name, commands, seed=seed, stall=stall,
                        latencies=[rng.choice([0, 5, 40]) for _ in range(4)])
    expected = [beat for command in commands for beat in bench.expected(*command)]

    async def testbench(ctx):
        await kit.until(ctx, lambda: len(bench.sink.items) >= len(expected))
        await ctx.tick().repeat(40)
        assert ctx.get(bench.unit.drained)

    bench.run(testbench)
    assert bench.sink.items == expected
    assert not bench.faults.seen


@pytest.mark.parametrize("name, port", PORTS)
@pytest.mark.parametrize("part", [0, -1])
def test_an_error_names_the_wide_beat(kit, name, port, part):
    """The first or the last of the port's beats that make up the third bus beat of a stripe."""
    config = TEST_CONFIGS[name]
    wide = 16 + 16 // config.ports * port + 2  # counted from BASE
    address = BASE + wide * config.bus_bytes
    at = address + range(0, config.bus_bytes, config.port_bytes)[part]
    bench = ReaderBench(kit, name, [(BASE, 100)], respond={at: 3})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.faults.seen)
        await ctx.tick().repeat(50)
        assert [fault[1:] for fault in bench.faults.seen] == [(ErrorCode.READ_DECODE, address)]
        assert bench.sink.items == bench.expected(BASE, wide)
        await bench.abort(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize("how", ["early", "missing", "late"])
@pytest.mark.parametrize("name, port", PORTS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_broken_protocol_ends_the_run(kit, how, name, port, stall):
    """In the port's stripe of the third burst, RLAST on its first beat, or not on its last."""
    config = TEST_CONFIGS[name]
    stripe = 16 // config.ports  # in bus beats
    good = 32 + stripe * port + (0 if how == "early" else stripe - 1)
    burst = BASE + (32 + stripe * port) * config.bus_bytes
    bench = ReaderBench(kit, name, [(BASE, 200)], stall=stall, last={burst: how})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.faults.seen)
        assert [fault[1:] for fault in bench.faults.seen] == [
            (ErrorCode.READ_PROTOCOL, BASE + good * config.bus_bytes)]
        await kit.until(ctx, lambda: len(bench.sink.items) >= good * config.bus_beats)
        await ctx.tick().repeat(50)
        assert bench.sink.items == bench.expected(BASE, good)
        await bench.abort(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)


def test_a_port_may_owe_much_when_another_breaks_the_protocol(kit):
    """What the second port owes comes long after the read master has given up."""
    bench = ReaderBench(kit, "8x16", [(BASE, 200)], latencies=(0, 800), last={BASE: "early"})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.faults.seen)
        await bench.abort(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("seed", range(8))
def test_abort_in_the_middle(kit, name, seed):
    rng = random.Random(seed)
    bench = ReaderBench(kit, name, [(BASE, 300)], seed=seed, stall=rng.choice([0.0, 0.4]),
                        latencies=[rng.choice([0, 30]) for _ in range(4)])

    async def testbench(ctx):
        await ctx.tick().repeat(rng.randrange(5, 150))
        await bench.abort(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)
