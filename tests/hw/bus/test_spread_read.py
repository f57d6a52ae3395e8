# SPDX-License-Identifier: Apache-2.0
"""Reads over several ports: the wide bus sees one memory, whichever port is late, wrong, or breaks the protocol."""

import random

import pytest

from moevit.hw.bus.spread_read import SpreadRead

from .spread_bench import BASE, SHAPES, ReadBench, bursts_of


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall, seed", [(0.0, 1), (0.5, 2)])
def test_every_burst_in_order(kit, shape, stall, seed):
    rng = random.Random(seed)
    bench = ReadBench(kit, shape, bursts_of(rng, shape[0], 40), seed=seed, stall=stall,
                  latencies={index: rng.choice([0, 5, 40]) for index in range(shape[1])})
    assert bench.run() == bench.expected
    stripe = 16 * bench.port_bytes
    for index, slave in enumerate(bench.slaves):
        for address, beats in slave.bursts:
            assert address // stripe % bench.ports == index
            assert address // stripe == (address + beats * bench.port_bytes - 1) // stripe
    assert sum(beats for slave in bench.slaves for _, beats in slave.bursts) == bench.ports * len(bench.sink.items)


def test_a_late_port_holds_only_the_order(kit):
    """Port 0 answers when the others have answered all that is under way, without a stall of theirs."""
    bench = ReadBench(kit, (64, 4), [(BASE + 1024 * index, 16) for index in range(8)], latencies={0: 400})
    assert bench.run() == bench.expected
    assert bench.sink.cycles[0] > 400
    assert bench.sink.cycles[-1] - bench.sink.cycles[0] <= 128 + 12  # its own rate; the others' last stripes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("latency", [0, 60])
def test_a_wide_beat_every_cycle(kit, shape, latency):
    bench = ReadBench(kit, shape, [(BASE + 16 * shape[0] * index, 16) for index in range(24)],
                  latencies=dict.fromkeys(range(4), latency))
    assert bench.run() == bench.expected
    cycles = bench.sink.cycles
    assert 24 * 16 / (cycles[-1] - cycles[0] + 1) >= 0.95


def test_latency(kit):
    """From AR to the port's, and from the last part of a bus beat to R."""
    bench = ReadBench(kit, (64, 4), [(BASE, 1)])
    asked = kit.Pulses(bench.unit.wide.ar.valid)
    shown = kit.Pulses(bench.unit.narrow[0].ar.valid)
    heard = kit.Pulses(bench.unit.narrow[0].r.valid)
    bench.slaves += [asked, shown, heard]
    bench.run()
    assert shown.seen[0][0] == asked.seen[0][0] + SpreadRead.latency_address
    assert bench.sink.cycles == [heard.seen[3][0] + SpreadRead.latency]


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("port", range(4))
def test_an_error_is_the_beat_s(kit, port, response):
    wrong = {BASE + 256 * port + 16 * index for index in (1, 6, 7, 15)}  # beats 0, 1 and 3 of the stripe
    bench = ReadBench(kit, (64, 4), [(BASE, 16), (BASE + 1024, 16)], respond=dict.fromkeys(wrong, response))
    got = bench.run()
    assert [index for index, (_, resp, _) in enumerate(got) if resp] == [4 * port + beat for beat in (0, 1, 3)]
    assert {resp for _, resp, _ in got} == {0, response}
    assert [beat[2] for beat in got] == [beat[2] for beat in bench.expected]


@pytest.mark.parametrize("how, beats", [("early", 5), ("missing", 8), ("late", 8)])
def test_bursts_after_a_broken_one_are_answered_with_nothing(kit, how, beats):
    """The third burst breaks off in the second stripe of its four; the others have as many beats as they should."""
    bench = ReadBench(kit, (64, 4), [(BASE + 1024 * index, 16) for index in range(5)], last={BASE + 2048 + 256: how})
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
