# SPDX-License-Identifier: Apache-2.0
"""The write master over several ports: its faults and its abort, whichever port stands still or fails."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from moevit.hw.bus.axi import WriteChannels
from moevit.hw.bus.spread_write import SpreadWrite
from moevit.hw.bus.write_master import WriteMaster, write_command_layout
from moevit.hw.fault import fault_layout
from moevit.hw.interfaces import Flow
from moevit.hw.layouts import word_layout
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS
from .spread_bench import BASE


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
def test_an_abort_ends_a_stripe_of_which_data_are_missing(kit, name, port):
    """The data end two beats into the port's stripe of the second burst: no address of it, or after it, was shown."""
    bench = WriterBench(kit, name)
    stripe = 16 // bench.ports
    come = 16 + stripe * port + 2

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
