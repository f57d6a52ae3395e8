# SPDX-License-Identifier: Apache-2.0
"""The bridges to several ports between the wide bus and a slave per port."""

import random

from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.bus.spread_write import SpreadWrite

SHAPES = [(16, 2), (64, 4)]  # bytes of the wide bus, ports
BASE = 0x12_3000


def bursts_of(rng, size, count):
    """Bursts of all lengths at all places between multiples of 16 beats."""
    places = [(first, beats) for first in range(16) for beats in range(1, 17 - first)]
    return [(BASE + 16 * size * rng.randrange(64) + first * size, beats)
            for first, beats in rng.sample(places, min(count, len(places)))]


class ReadBench:
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


class WriteBench:
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
