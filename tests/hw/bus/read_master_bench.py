# SPDX-License-Identifier: Apache-2.0
"""A read master between a source of commands, a slave and a sink."""

from moevit.hw.bus.read_master import ReadMaster

from ...configs import TEST_CONFIGS

BASE, LIMIT = 0x1_0000, 0x8_0000


class Bench:
    """A read master between a source of commands, a slave and a sink."""

    def __init__(self, kit, config="8x8", commands=(), *, seed=0, stall=0.0, slave=None, **options):
        self.kit = kit
        self.config = TEST_CONFIGS.get(config, config)
        self.unit = ReadMaster(self.config, **options)
        self.bytes = self.config.bus_bytes
        self.slave = kit.ReadSlave(self.unit.bus, self.bytes, seed=seed, stall=stall, **slave or {})
        self.source = kit.Source(self.unit.command, [{"address": a, "beats": b} for a, b in commands],
                                 seed=seed + 1, stall=stall)
        self.sink = kit.BeatsSink(self.unit.beats, seed=seed + 2, stall=stall)
        self.faults = kit.Pulses(self.unit.fault.valid, self.unit.fault.payload.code, self.unit.fault.payload.address)
        self.received = kit.Pulses(self.unit.beat)
        self.window = (BASE, LIMIT)

    def expected(self, *commands):
        """Beats, the low half of a bus beat first."""
        width = 8 * self.config.beat_bytes
        return [self.slave.data(a + i * self.bytes) >> part * width & (1 << width) - 1
                for a, b in commands for i in range(b) for part in range(self.config.bus_beats)]

    def run(self, testbench):
        async def wrapped(ctx):
            ctx.set(self.unit.base, self.window[0])
            ctx.set(self.unit.limit, self.window[1])
            await testbench(ctx)

        self.kit.simulate(self.unit, wrapped, self.slave, self.source, self.sink, self.faults, self.received)

    async def settle(self, ctx, limit=5000):
        """Until the bus has been quiet for a while and ``drained`` says so."""
        quiet = 0
        for _ in range(limit):
            await ctx.tick()
            quiet = quiet + 1 if ctx.get(self.unit.drained) and not ctx.get(self.unit.beats.available) else 0
            if quiet > 40:
                return
        raise AssertionError("never drained")

    async def abort(self, ctx, cycles=1):
        self.source.clear()
        ctx.set(self.unit.abort, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(self.unit.abort, 0)
        await ctx.tick()

    async def works_again(self, ctx, command=(BASE + 0x2000, 33)):
        """After an abort that drained, the next command is read as if nothing had been."""
        del self.sink.items[:]
        del self.faults.seen[:]
        self.source.items.append({"address": command[0], "beats": command[1]})
        await self.kit.until(ctx, lambda: len(self.sink.items) == len(self.expected(command)))
        await self.settle(ctx)
        assert self.sink.items == self.expected(command)
        assert not self.faults.seen
