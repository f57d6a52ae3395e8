# SPDX-License-Identifier: Apache-2.0
"""Writes over several ports: what the wide bus writes lies in memory, and each wide burst has one answer."""

import random

import pytest

from moevit.hw.bus.spread_write import SpreadWrite

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
    """One cycle from AW to the port's, two from W to the port's, two from the last B to B."""
    bench = Bench(kit, (64, 4), [(BASE, 1)])
    pulses = [kit.Pulses(signal) for signal in (bench.unit.wide.aw.valid, bench.unit.narrow[0].aw.valid,
                                                bench.unit.wide.w.valid & bench.unit.wide.w.ready,
                                                bench.unit.narrow[0].w.valid, bench.unit.narrow[0].b.valid)]
    bench.run(None, *pulses)
    asked, shown, taken, sent, answered = (pulse.seen[0][0] for pulse in pulses)
    assert (shown - asked, sent - taken, bench.answers.cycles[0] - answered) == (1, 2, 2)


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
