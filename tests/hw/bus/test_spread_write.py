# SPDX-License-Identifier: Apache-2.0
"""Writes over several ports: what the wide bus writes lies in memory, and each wide burst has one answer."""

import random
from collections import deque

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from moevit.hw.bus.axi import WriteChannels
from moevit.hw.bus.fault import fault_layout
from moevit.hw.bus.spread_write import SpreadWrite
from moevit.hw.bus.write_master import WriteMaster, write_command_layout
from moevit.hw.interfaces import Flow, word_layout
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS
from .test_spread_read import BASE, SHAPES, bursts_of


class Bench:
    """A ``SpreadWrite`` between wide bursts {address: beats} and a slave per port."""

    def __init__(self, kit, shape, bursts, *, seed=0, stall=0.0, latencies=None, strobes=None, **slave):
        self.kit, (self.bytes, self.ports) = kit, shape
        self.unit, self.bursts = SpreadWrite(*shape), bursts
        self.slaves = [kit.WriteSlave(bus, self.bytes // self.ports, seed=seed + index, stall=stall,
                                      latency=(latencies or {}).get(index, 0), **slave)
                       for index, bus in enumerate(self.unit.narrow)]
        rng = random.Random(seed)
        self.memory, beats = {}, []
        for address, count in bursts:
            for index in range(count):
                data = rng.getrandbits(8 * self.bytes)
                strobe = rng.getrandbits(self.bytes) if strobes is None else strobes
                beats.append({"data": data, "strb": strobe, "last": int(index == count - 1)})
                self.memory |= {address + index * self.bytes + byte: data >> 8 * byte & 255
                                for byte in range(self.bytes) if strobe >> byte & 1}
        self.addresses = kit.Source(self.unit.wide.aw, [{"addr": a, "len": n - 1} for a, n in bursts],
                                    seed=seed + 50, stall=stall)
        self.words = kit.Source(self.unit.wide.w, beats, seed=seed + 51, stall=stall)
        self.answers = kit.Sink(self.unit.wide.b, seed=seed + 52, stall=stall)

    def run(self, testbench=None, *actors):
        async def to_the_end(ctx):
            await self.kit.until(ctx, lambda: len(self.answers.items) == len(self.bursts), 20_000)
            await ctx.tick().repeat(20)
            assert ctx.get(self.unit.drained)

        self.kit.simulate(self.unit, testbench or to_the_end, self.addresses, self.words, self.answers, *self.slaves,
                          *actors)
        return [answer.resp for answer in self.answers.items]

    @property
    def written(self):
        return {address: byte for slave in self.slaves for address, byte in slave.memory.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall, seed", [(0.0, 1), (0.5, 2)])
def test_every_burst(kit, shape, stall, seed):
    rng = random.Random(seed)
    places = bursts_of(rng, shape[0], 40)
    bursts = [(address % (16 * shape[0]) + BASE + 16 * shape[0] * index, beats)  # apart: ports are not in order
              for index, (address, beats) in enumerate(places)]
    bench = Bench(kit, shape, bursts, seed=seed, stall=stall,
                  latencies={index: rng.choice([0, 5, 40]) for index in range(shape[1])})
    assert bench.run() == [0] * len(bursts)
    assert bench.written == bench.memory
    block = 16 * shape[0] // shape[1]
    for index, slave in enumerate(bench.slaves):
        assert {address // block % shape[1] for address, _ in slave.bursts} <= {index}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_wide_beat_every_cycle(kit, shape):
    bench = Bench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(24)])
    taken = kit.Pulses(bench.unit.wide.w.valid & bench.unit.wide.w.ready)
    bench.run(None, taken)
    cycles = [cycle for cycle, in taken.seen]
    assert len(cycles) == 384
    assert 384 / (cycles[-1] - cycles[0] + 1) >= 0.95


def test_latency(kit):
    """Two cycles from W to the port's, from the block's last beat to the port's AW, and from the last B to B."""
    bench = Bench(kit, (64, 4), [(BASE, 1)])
    pulses = [kit.Pulses(signal) for signal in (bench.unit.wide.w.valid & bench.unit.wide.w.ready,
                                                bench.unit.narrow[0].w.valid, bench.unit.narrow[0].aw.valid,
                                                bench.unit.narrow[0].b.valid)]
    bench.run(None, *pulses)
    taken, sent, shown, answered = (pulse.seen[0][0] for pulse in pulses)
    assert (sent - taken, shown - taken, bench.answers.cycles[0] - answered) == (2, 2, 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_an_address_is_shown_when_its_block_is_whole(kit, shape, stall):
    size, ports = shape
    bench = Bench(kit, shape, [(BASE + 16 * size * index + 2 * size, 13) for index in range(8)], stall=stall)
    taken = kit.Pulses(bench.unit.wide.w.valid & bench.unit.wide.w.ready)
    shown = [kit.Pulses(bus.aw.valid, bus.aw.payload.addr) for bus in bench.unit.narrow]
    bench.run(None, taken, *shown)
    whole = {}  # block: the cycle in which its last beat was taken
    beats = (address + size * index for address, count in bench.bursts for index in range(count))
    for address, (cycle,) in zip(beats, taken.seen, strict=True):
        whole[address * ports // (16 * size)] = cycle
    first = {}
    for port in shown:
        for cycle, address in port.seen:
            first.setdefault(address * ports // (16 * size), cycle)
    assert first.keys() == whole.keys()
    assert all(first[block] > whole[block] for block in whole)
    if not stall:
        assert all(first[block] == whole[block] + 2 for block in whole)


class Arbiter:
    """Where all ports meet: takes every address at once, grants one block at a time by strict priority, then its data.

    It knows no fairness: as long as a port before it in ``order`` has an address, a port waits.
    """

    def __init__(self, ports, order):
        self.ports, self.order = ports, order
        self.memory = {}

    async def run(self, ctx):
        queues = [deque() for _ in self.ports]  # addresses
        granted, at = None, 0
        for bus in self.ports:
            ctx.set(bus.aw.ready, 1)
        while True:
            _, _, *seen = await ctx.tick().sample(*(signal for bus in self.ports for signal in (
                bus.aw.valid, bus.aw.payload.addr, bus.w.valid, bus.w.payload)))
            answered = None
            for index in range(len(self.ports)):
                asked, address, sent, beat = seen[4 * index:4 * index + 4]
                if asked:
                    queues[index].append(address)
                if sent and index == granted:
                    for byte in range(len(self.ports[index].w.payload.strb)):
                        if beat.strb >> byte & 1:
                            self.memory[at + byte] = beat.data >> 8 * byte & 255
                    at += len(self.ports[index].w.payload.strb)
                    answered = index if beat.last else None
            if granted is None or answered is not None:
                granted = next((index for index in self.order if queues[index]), None)
                at = queues[granted].popleft() if granted is not None else 0
            for index, bus in enumerate(self.ports):
                ctx.set(bus.w.ready, int(index == granted))
                ctx.set(bus.b.valid, int(index == answered))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backwards", [False, True])
def test_ports_may_meet_in_any_arbiter(kit, shape, backwards):
    """Blocks are granted out of the order in which their data come."""
    bench = Bench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(12)])
    bench.slaves = [Arbiter(bench.unit.narrow, sorted(range(shape[1]), reverse=backwards))]
    assert bench.run() == [0] * 12
    assert bench.written == bench.memory


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("port", range(4))
def test_an_error_is_the_burst_s(kit, port, response):
    """Of three bursts the second fails at one port."""
    bursts = [(BASE + 1024 * index, 16) for index in range(3)]
    bench = Bench(kit, (64, 4), bursts, respond={BASE + 1024 + 256 * port: response})
    assert bench.run() == [0, response, 0]
    assert bench.written == bench.memory


def test_an_answer_before_the_data_is_an_error(kit):
    bench = Bench(kit, (64, 4), [(BASE, 16)], early={BASE + 512})
    assert bench.run() == [2]
    assert bench.written == bench.memory


def test_answers_to_nothing_are_ignored(kit):
    bench = Bench(kit, (64, 4), [(BASE, 16)])
    bench.slaves[1].stray.extend([2, 2])
    later = list(bench.addresses.items)
    bench.addresses.items.clear()

    async def testbench(ctx):
        await ctx.tick().repeat(10)
        assert not bench.slaves[1].stray and not bench.answers.items
        bench.addresses.items.extend(later)
        await kit.until(ctx, lambda: bench.answers.items)

    assert bench.run(testbench) == [0]


@pytest.mark.parametrize("held", ["accept_address", "accept_data", "answer"])
@pytest.mark.parametrize("port", [0, 3])
def test_drained_when_nothing_is_under_way(kit, held, port):
    """A port that stands still keeps the wide burst open, and the others' channels wait for none of its."""
    bench = Bench(kit, (64, 4), [(BASE, 16)])
    setattr(bench.slaves[port], held, False)

    async def testbench(ctx):
        assert ctx.get(bench.unit.drained)
        await ctx.tick().repeat(100)
        assert not bench.answers.items
        assert not ctx.get(bench.unit.drained)
        for index, slave in enumerate(bench.slaves):
            assert len(slave.beats) == (0 if index == port and held == "accept_data" else 16)
            assert len(slave.bursts) == (0 if index == port and held == "accept_address" else 1)
        setattr(bench.slaves[port], held, True)
        await kit.until(ctx, lambda: bench.answers.items)
        await ctx.tick().repeat(2)
        assert ctx.get(bench.unit.drained)

    bench.run(testbench)
    assert bench.written == bench.memory


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("first", ["address", "data"])
def test_slaves_may_want_one_channel_before_the_other(kit, shape, first):
    """Whole blocks without their addresses, or addresses before any of their data."""
    bench = Bench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(6)])

    async def testbench(ctx):
        for _ in range(2000):
            for slave in bench.slaves:
                blocks = sum(last for _, _, last in slave.beats)
                slave.accept_address = first == "address" or blocks > len(slave.bursts)
                slave.accept_data = first == "data" or len(slave.bursts) > blocks
            await ctx.tick()
        assert len(bench.answers.items) == 6 and ctx.get(bench.unit.drained)

    assert bench.run(testbench) == [0] * 6
    assert bench.written == bench.memory


class Writer(Component):
    """The write master with its ports."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(write_command_layout())),
            "words": In(stream.Signature(word_layout(config))),
            "narrow": Out(WriteChannels(config.port_bytes)).array(config.ports),
            "abort": In(1),
            "drained": Out(1),
            "done": Out(1),
            "fault": Out(Flow(fault_layout())),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.master = master = WriteMaster(self.config)
        m.submodules.spread = spread = SpreadWrite(self.config.bus_bytes, self.config.ports)
        connect(m, flipped(self.command), master.command)
        connect(m, flipped(self.words), master.words)
        connect(m, master.bus, spread.wide)
        connect(m, master.fault, flipped(self.fault))
        for narrow, port in zip(spread.narrow, self.narrow, strict=True):
            connect(m, narrow, flipped(port))
        m.d.comb += [master.limit.eq((1 << 64) - 1), master.abort.eq(self.abort), self.done.eq(master.done),
                     self.drained.eq(master.drained & spread.drained)]
        return m


class WriterBench:
    def __init__(self, kit, name, *, seed=0, stall=0.0, **slave):
        self.kit, self.config, self.random = kit, TEST_CONFIGS[name], random.Random(seed)
        self.size, self.ports = self.config.bus_bytes, self.config.ports
        self.unit = Writer(self.config)
        self.slaves = [kit.WriteSlave(bus, self.config.port_bytes, seed=seed + index, stall=stall, **slave)
                       for index, bus in enumerate(self.unit.narrow)]
        self.commands = kit.Source(self.unit.command, [])
        self.words = kit.Source(self.unit.words, [], seed=seed + 50, stall=stall)
        self.done = kit.Pulses(self.unit.done)
        self.faults = kit.Pulses(self.unit.fault.valid, self.unit.fault.payload.code, self.unit.fault.payload.address)
        self.memory = {}

    def give(self, address, beats, come=None):
        """A command for so many beats of the bus, of which so many come."""
        lanes = 8 * self.size // 16
        self.commands.items.append({"address": address, "words": beats // self.config.word_bus_beats})
        values = [self.random.randrange(-1 << 15, 1 << 15) for _ in range((beats if come is None else come) * lanes)]
        self.words.items.extend(values[at:at + self.config.k_lanes]
                                for at in range(0, len(values), self.config.k_lanes))
        stored = b"".join(value.to_bytes(2, "little", signed=True) for value in values)
        self.memory |= {address + index: byte for index, byte in enumerate(stored)}

    @property
    def written(self):
        return {address: byte for slave in self.slaves for address, byte in slave.memory.items()}

    def run(self, testbench):
        self.kit.simulate(self.unit, testbench, *self.slaves, self.commands, self.words, self.done, self.faults)

    async def abort(self, ctx):
        self.commands.clear()
        self.words.clear()
        ctx.set(self.unit.abort, 1)
        await ctx.tick()
        ctx.set(self.unit.abort, 0)
        await ctx.tick()

    async def drained(self, ctx):
        """Until the machine says that nothing is under way; then nothing may be."""
        await self.kit.until(ctx, lambda: ctx.get(self.unit.drained))
        for slave in self.slaves:
            assert len(slave.beats) == sum(beats for _, beats in slave.bursts) and not slave.answers
            assert not ctx.get(slave.bus.aw.valid) and not ctx.get(slave.bus.w.valid)

    async def works_again(self, ctx):
        for record in (self.memory, self.done.seen, *(slave.memory for slave in self.slaves)):
            record.clear()
        self.give(BASE + 0x2000 + 6 * self.size, 70)
        await self.kit.until(ctx, lambda: self.done.seen)
        await self.drained(ctx)
        assert self.written == self.memory


WRITERS = ["16x16", "32x32"]  # two ports and words of two beats, four ports


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("seed", range(8))
def test_abort_in_the_middle(kit, name, seed):
    rng = random.Random(seed)
    bench = WriterBench(kit, name, seed=seed, stall=rng.choice([0.0, 0.4]), latency=rng.choice([0, 30]))

    async def testbench(ctx):
        bench.give(BASE + 2 * bench.size, 200)
        await ctx.tick().repeat(rng.randrange(5, 150))
        await bench.abort(ctx)
        await bench.drained(ctx)
        assert bench.written.items() <= bench.memory.items()
        await bench.works_again(ctx)
        assert not bench.faults.seen

    bench.run(testbench)


@pytest.mark.parametrize("name, port", [(name, port) for name in WRITERS for port in range(TEST_CONFIGS[name].ports)])
def test_an_abort_ends_a_block_of_which_data_are_missing(kit, name, port):
    """The data end two beats into the port's block of the second burst: no address of it, or after it, was shown."""
    bench = WriterBench(kit, name)
    block = 16 // bench.ports
    come = 16 + block * port + 2

    async def testbench(ctx):
        bench.give(BASE, 100, come)
        await ctx.tick().repeat(150)
        assert [len(slave.bursts) for slave in bench.slaves] == [1 + (index < port) for index in range(bench.ports)]
        assert [len(slave.beats) for slave in bench.slaves] == [
            16 * (1 + (index < port)) + 2 * bench.ports * (index == port) for index in range(bench.ports)]
        await bench.abort(ctx)
        await bench.drained(ctx)
        assert bench.written == bench.memory
        assert all(len(slave.bursts) >= 2 for slave in bench.slaves)
        await bench.works_again(ctx)
        assert not bench.faults.seen

    bench.run(testbench)


@pytest.mark.parametrize("name, port", [("16x16", 0), ("16x16", 1), ("32x32", 0), ("32x32", 3)])
@pytest.mark.parametrize("held", ["accept_address", "accept_data", "answer"])
def test_abort_while_a_port_stands_still(kit, name, port, held):
    bench = WriterBench(kit, name)
    setattr(bench.slaves[port], held, False)

    async def testbench(ctx):
        bench.give(BASE, 200)
        await ctx.tick().repeat(150)
        await bench.abort(ctx)
        await ctx.tick().repeat(150)
        assert not ctx.get(bench.unit.drained)
        setattr(bench.slaves[port], held, True)
        await bench.drained(ctx)
        assert bench.written.items() <= bench.memory.items()
        await bench.works_again(ctx)
        assert not bench.faults.seen

    bench.run(testbench)


@pytest.mark.parametrize("name, port", [("16x16", 1), ("32x32", 2)])
def test_an_error_is_the_wide_burst_s(kit, name, port):
    burst = BASE + 2 * 16 * TEST_CONFIGS[name].bus_bytes
    bench = WriterBench(kit, name, respond={burst + port * 16 * TEST_CONFIGS[name].port_bytes: 2})

    async def testbench(ctx):
        bench.give(BASE, 200)
        await kit.until(ctx, lambda: bench.faults.seen)
        await bench.drained(ctx)
        assert [fault[1:] for fault in bench.faults.seen] == [(ErrorCode.WRITE_SLAVE, burst)]
        await bench.abort(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)
