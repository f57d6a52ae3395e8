# SPDX-License-Identifier: Apache-2.0
"""Writes over several ports: what the wide bus writes lies in memory, and each wide burst has one answer."""

import random

import pytest

from moevit.hw.bus.spread_write import SpreadWrite

from .spread_bench import BASE, SHAPES, WriteBench, bursts_of


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall, seed", [(0.0, 1), (0.5, 2)])
def test_every_burst(kit, shape, stall, seed):
    rng = random.Random(seed)
    places = bursts_of(rng, shape[0], 40)
    bursts = [(address % (16 * shape[0]) + BASE + 16 * shape[0] * index, beats)  # apart: ports are not in order
              for index, (address, beats) in enumerate(places)]
    bench = WriteBench(kit, shape, bursts, seed=seed, stall=stall,
                       latencies={index: rng.choice([0, 5, 40]) for index in range(shape[1])})
    assert bench.run() == [0] * len(bursts)
    assert bench.written == bench.memory
    stripe = 16 * shape[0] // shape[1]
    for index, slave in enumerate(bench.slaves):
        assert {address // stripe % shape[1] for address, _ in slave.bursts} <= {index}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_wide_beat_every_cycle(kit, shape):
    bench = WriteBench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(24)])
    taken = kit.Pulses(bench.unit.wide.w.valid & bench.unit.wide.w.ready)
    bench.run(None, taken)
    cycles = [cycle for cycle, in taken.seen]
    assert len(cycles) == 384
    assert 384 / (cycles[-1] - cycles[0] + 1) >= 0.95


def test_latency(kit):
    """From W to the port's, from the stripe's last bus beat to the port's AW, and from the last B to B."""
    bench = WriteBench(kit, (64, 4), [(BASE, 1)])
    pulses = [kit.Pulses(signal) for signal in (bench.unit.wide.w.valid & bench.unit.wide.w.ready,
                                                bench.unit.narrow[0].w.valid, bench.unit.narrow[0].aw.valid,
                                                bench.unit.narrow[0].b.valid)]
    bench.run(None, *pulses)
    taken, sent, shown, answered = (pulse.seen[0][0] for pulse in pulses)
    assert (sent - taken, shown - taken, bench.answers.cycles[0] - answered) == (
        SpreadWrite.latency, SpreadWrite.latency_address, SpreadWrite.latency_answer)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_an_address_is_shown_when_its_stripe_is_complete(kit, shape, stall):
    size, ports = shape
    bench = WriteBench(kit, shape, [(BASE + 16 * size * index + 2 * size, 13) for index in range(8)], stall=stall)
    taken = kit.Pulses(bench.unit.wide.w.valid & bench.unit.wide.w.ready)
    shown = [kit.Pulses(bus.aw.valid, bus.aw.payload.addr) for bus in bench.unit.narrow]
    bench.run(None, taken, *shown)
    whole = {}  # stripe: the cycle in which its last beat was taken
    beats = (address + size * index for address, count in bench.bursts for index in range(count))
    for address, (cycle,) in zip(beats, taken.seen, strict=True):
        whole[address * ports // (16 * size)] = cycle
    first = {}
    for port in shown:
        for cycle, address in port.seen:
            first.setdefault(address * ports // (16 * size), cycle)
    assert first.keys() == whole.keys()
    assert all(first[stripe] > whole[stripe] for stripe in whole)
    if not stall:
        assert all(first[stripe] == whole[stripe] + SpreadWrite.latency_address for stripe in whole)


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("port", range(4))
def test_an_error_is_the_burst_s(kit, port, response):
    """Of three bursts the second fails at one port."""
    bursts = [(BASE + 1024 * index, 16) for index in range(3)]
    bench = WriteBench(kit, (64, 4), bursts, respond={BASE + 1024 + 256 * port: response})
    assert bench.run() == [0, response, 0]
    assert bench.written == bench.memory


def test_an_answer_before_the_data_is_an_error(kit):
    bench = WriteBench(kit, (64, 4), [(BASE, 16)], early={BASE + 512})
    assert bench.run() == [2]
    assert bench.written == bench.memory


def test_answers_to_nothing_are_ignored(kit):
    bench = WriteBench(kit, (64, 4), [(BASE, 16)])
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
    bench = WriteBench(kit, (64, 4), [(BASE, 16)])
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
    """Whole stripes without their addresses, or addresses before any of their data."""
    bench = WriteBench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(6)])

    async def testbench(ctx):
        for _ in range(2000):
            for slave in bench.slaves:
                stripes = sum(last for _, _, last in slave.beats)
                slave.accept_address = first == "address" or stripes > len(slave.bursts)
                slave.accept_data = first == "data" or len(slave.bursts) > stripes
            await ctx.tick()
        assert len(bench.answers.items) == 6 and ctx.get(bench.unit.drained)

    assert bench.run(testbench) == [0] * 6
    assert bench.written == bench.memory
