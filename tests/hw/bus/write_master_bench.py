# SPDX-License-Identifier: Apache-2.0
"""A write master between sources of commands and words, and a slave."""

import random

from moevit.hw.bus.write_master import WriteMaster

from ...configs import TEST_CONFIGS

BASE, LIMIT = 0x1_0000, 0x8_0000


class Bench:
    """A write master between sources of commands and words, and a slave."""

    def __init__(self, kit, config="8x8", commands=(), *, seed=0, stall=0.0, slave=None, **options):
        self.kit = kit
        self.config = TEST_CONFIGS[config]
        self.unit = WriteMaster(self.config, **options)
        self.random = random.Random(seed)
        self.slave = kit.WriteSlave(self.unit.bus, self.config.bus_bytes, seed=seed, stall=stall, **slave or {})
        self.commands = kit.Source(self.unit.command, [], seed=seed + 1, stall=stall)
        self.words = kit.Source(self.unit.words, [], seed=seed + 2, stall=stall)
        self.faults = kit.Pulses(self.unit.fault.valid, self.unit.fault.payload.code, self.unit.fault.payload.address)
        self.written = kit.Pulses(self.unit.beat)
        self.done = kit.Pulses(self.unit.done)
        self.window = (BASE, LIMIT)
        self.memory = {}
        for command in commands:
            self.give(*command)

    def give(self, address, words, *, with_words=True):
        """A command, its words, and what they make of the memory."""
        self.commands.items.append({"address": address, "words": words})
        for _ in range(words if with_words else 0):
            lanes = [self.random.randrange(-1 << 15, 1 << 15) for _ in range(self.config.k_lanes)]
            self.words.items.append(lanes)
            for byte in b"".join(lane.to_bytes(2, "little", signed=True) for lane in lanes):
                self.memory[address] = byte
                address += 1

    def run(self, testbench):
        async def wrapped(ctx):
            ctx.set(self.unit.base, self.window[0])
            ctx.set(self.unit.limit, self.window[1])
            await testbench(ctx)

        self.kit.simulate(self.unit, wrapped, self.slave, self.commands, self.words, self.faults, self.written,
                          self.done)

    async def drained(self, ctx, limit=1000):
        return await self.kit.until(ctx, lambda: ctx.get(self.unit.drained), limit)

    async def abort(self, ctx, cycles=1):
        self.commands.clear()
        self.words.clear()
        ctx.set(self.unit.abort, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(self.unit.abort, 0)
        await ctx.tick()

    async def works_again(self, ctx, address=BASE + 0x2000, words=13):
        for record in (self.memory, self.slave.memory, self.done.seen, self.faults.seen):
            record.clear()
        ctx.set(self.unit.base, BASE)
        ctx.set(self.unit.limit, LIMIT)
        self.give(address, words)
        await self.kit.until(ctx, lambda: self.done.seen)
        await ctx.tick().repeat(5)
        assert self.slave.memory == self.memory
        assert len(self.done.seen) == 1
        assert not self.faults.seen
