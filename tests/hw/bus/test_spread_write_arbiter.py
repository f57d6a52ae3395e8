# SPDX-License-Identifier: Apache-2.0
"""Writes over ports that meet again behind the bridge."""

from collections import deque

import pytest

from .spread_bench import BASE, SHAPES, WriteBench


class Arbiter:
    """Where all ports meet: takes every address at once, grants one stripe at a time by strict priority, then its data.

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
    bench = WriteBench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(12)])
    bench.slaves = [Arbiter(bench.unit.narrow, sorted(range(shape[1]), reverse=backwards))]
    assert bench.run() == [0] * 12
    assert bench.written == bench.memory
