# SPDX-License-Identifier: Apache-2.0
"""The ports of the bus beats of bursts, one after the other."""

from moevit.hw.bus.spread_order import SpreadOrder
from moevit.sim.bench.stream_bench import StreamBench


def test_every_bus_beat_has_its_port():
    """Two bursts over two ports, eight bus beats a stripe; the first is there `latency` cycles after it came."""
    unit, found = SpreadOrder(2, 4), []
    bursts = [{"first": 6, "last": 9}, {"first": 15, "last": 15}]
    names = ("valid", "port", "ends_stripe", "ends_burst")

    def step(ctx, cycle):
        ctx.set(unit.burst.valid, cycle < 2)
        ctx.set(unit.burst.payload, bursts[min(cycle, 1)])
        ctx.set(unit.advance, ctx.get(unit.valid))
        found.append(tuple(ctx.get(getattr(unit, name)) for name in names))

    StreamBench(unit).play(step, 10)
    assert [each[0] for each in found] == [0] * SpreadOrder.latency + [1] * 5 + [0] * (5 - SpreadOrder.latency)
    assert [each[1:] for each in found if each[0]] == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (1, 1, 1)]
