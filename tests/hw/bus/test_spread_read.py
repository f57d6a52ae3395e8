# SPDX-License-Identifier: Apache-2.0
"""Reads over several ports: the wide bus sees one memory, whichever port is late, wrong, or breaks the protocol."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from moevit.hw.bus.axi import ReadChannels
from moevit.hw.bus.fault import fault_layout
from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.interfaces import Flow, NextBeats, command_layout
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS

SHAPES = [(16, 2), (64, 4)]  # bytes of the wide bus, ports
BASE = 0x12_3000


class Bench:
    """A ``SpreadRead`` between wide bursts {address: beats} and a slave per port."""

    def __init__(self, kit, shape, bursts, *, seed=0, stall=0.0, latencies=None, **slave):
        self.kit, (self.bytes, self.ports) = kit, shape
        self.port_bytes = self.bytes // self.ports
        self.unit = SpreadRead(*shape)
        self.bursts = bursts
        self.slaves = [kit.ReadSlave(bus, self.port_bytes, seed=seed + index, stall=stall,
                                     latency=(latencies or {}).get(index, 0), **slave)
                       for index, bus in enumerate(self.unit.narrow)]
        self.source = kit.Source(self.unit.wide.ar, [{"addr": a, "len": n - 1} for a, n in bursts], seed=seed + 50,
                                 stall=stall)
        self.sink = kit.Sink(self.unit.wide.r, seed=seed + 51, stall=stall)

    def data(self, address):
        return sum(self.slaves[0].data(address + part * self.port_bytes) << 8 * part * self.port_bytes
                   for part in range(self.ports))

    @property
    def expected(self):
        return [(self.data(address + index * self.bytes), 0, int(index == beats - 1))
                for address, beats in self.bursts for index in range(beats)]

    def run(self, limit=20_000):
        """Until all beats have come; returns them."""
        count = sum(beats for _, beats in self.bursts)

        async def testbench(ctx):
            await self.kit.until(ctx, lambda: len(self.sink.items) == count, limit)
            await ctx.tick().repeat(30)

        self.kit.simulate(self.unit, testbench, self.source, self.sink, *self.slaves)
        return [(beat.data, beat.resp, beat.last) for beat in self.sink.items]


def bursts_of(rng, size, count):
    """Bursts of all lengths at all places between multiples of 16 beats."""
    places = [(first, beats) for first in range(16) for beats in range(1, 17 - first)]
    return [(BASE + 16 * size * rng.randrange(64) + first * size, beats)
            for first, beats in rng.sample(places, min(count, len(places)))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall, seed", [(0.0, 1), (0.5, 2)])
def test_every_burst_in_order(kit, shape, stall, seed):
    rng = random.Random(seed)
    bench = Bench(kit, shape, bursts_of(rng, shape[0], 40), seed=seed, stall=stall,
                  latencies={index: rng.choice([0, 5, 40]) for index in range(shape[1])})
    assert bench.run() == bench.expected
    block = 16 * bench.port_bytes
    for index, slave in enumerate(bench.slaves):
        for address, beats in slave.bursts:
            assert address // block % bench.ports == index
            assert address // block == (address + beats * bench.port_bytes - 1) // block
    assert sum(beats for slave in bench.slaves for _, beats in slave.bursts) == bench.ports * len(bench.sink.items)


def test_a_late_port_holds_only_the_order(kit):
    """Port 0 answers when the others have answered all that is under way, without a stall of theirs."""
    bench = Bench(kit, (64, 4), [(BASE + 1024 * index, 16) for index in range(8)], latencies={0: 400})
    assert bench.run() == bench.expected
    assert bench.sink.cycles[0] > 400
    assert bench.sink.cycles[-1] - bench.sink.cycles[0] <= 128 + 12  # its own rate; the others' last blocks


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("latency", [0, 60])
def test_a_wide_beat_every_cycle(kit, shape, latency):
    bench = Bench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(24)],
                  latencies=dict.fromkeys(range(4), latency))
    assert bench.run() == bench.expected
    cycles = bench.sink.cycles
    assert 24 * 16 / (cycles[-1] - cycles[0] + 1) >= 0.95


def test_latency(kit):
    """One cycle from AR to the port's, two from the last part of a beat to R."""
    bench = Bench(kit, (64, 4), [(BASE, 1)])
    asked = kit.Pulses(bench.unit.wide.ar.valid)
    shown = kit.Pulses(bench.unit.narrow[0].ar.valid)
    heard = kit.Pulses(bench.unit.narrow[0].r.valid)
    bench.slaves += [asked, shown, heard]
    bench.run()
    assert shown.seen[0][0] == asked.seen[0][0] + 1
    assert bench.sink.cycles == [heard.seen[3][0] + 2]


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("port", range(4))
def test_an_error_is_the_beat_s(kit, port, response):
    wrong = {BASE + 256 * port + 16 * index for index in (1, 6, 7, 15)}  # beats 0, 1 and 3 of the block
    bench = Bench(kit, (64, 4), [(BASE, 16), (BASE + 1024, 16)], respond=dict.fromkeys(wrong, response))
    got = bench.run()
    assert [index for index, (_, resp, _) in enumerate(got) if resp] == [4 * port + beat for beat in (0, 1, 3)]
    assert {resp for _, resp, _ in got} == {0, response}
    assert [beat[2] for beat in got] == [beat[2] for beat in bench.expected]


@pytest.mark.parametrize("how, beats", [("early", 5), ("missing", 8), ("late", 8)])
def test_bursts_after_a_broken_one_are_answered_with_nothing(kit, how, beats):
    """The third burst breaks off in the second block of its four; the others have as many beats as they should."""
    bench = Bench(kit, (64, 4), [(BASE + 1024 * index, 16) for index in range(5)], last={BASE + 2048 + 256: how})
    ends = [15, 31, 32 + beats - 1, 32 + beats + 15, 32 + beats + 31]

    async def testbench(ctx):
        await kit.until(ctx, lambda: len(bench.sink.items) == ends[-1] + 1)
        assert not ctx.get(bench.unit.drained)
        await kit.until(ctx, lambda: ctx.get(bench.unit.drained))
        assert len(bench.sink.items) == ends[-1] + 1

    kit.simulate(bench.unit, testbench, bench.source, bench.sink, *bench.slaves)
    lasts = [index for index, beat in enumerate(bench.sink.items) if beat.last]
    assert lasts == ends
    assert [beat.data for beat in bench.sink.items[:ends[2]]] == [beat[0] for beat in bench.expected[:ends[2]]]


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
        """Beats of the stream in so many of the bus."""
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
    """The first or the last of the port's beats that make up the third wide beat of a block."""
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
    """In the port's block of the third wide burst, RLAST on its first beat, or not on its last."""
    config = TEST_CONFIGS[name]
    block = 16 // config.ports  # in wide beats
    good = 32 + block * port + (0 if how == "early" else block - 1)
    burst = BASE + (32 + block * port) * config.bus_bytes
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
