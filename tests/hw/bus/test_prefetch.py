# SPDX-License-Identifier: Apache-2.0
"""The prefetch FIFO with its room reserved as the read master does."""

import random
from dataclasses import replace

import pytest

from moevit.hw.bus.prefetch import Prefetch
from moevit.sim.bench.stream_bench import StreamBench

from ...configs import TEST_CONFIGS

CASES = [(tile_beats, bus_beats) for tile_beats in (2, 4, 8) for bus_beats in (1, 2)]


def config_of(tile_beats, bus_beats):
    return replace(TEST_CONFIGS["32x32"], tile_beats=tile_beats, bus_beats=bus_beats, ports=1, prefetch_beats=64)


def play(config, wishes, pushes, seed=1):
    """Push while there is room and ``pushes(cycle)``, take ``min(wishes(cycle), available)``.

    Returns {cycle: beats taken}, the beats pushed and the cycles in which they were.
    """
    unit, rng = Prefetch(config), random.Random(seed)
    taken, pushed, pushed_at = {}, [], []

    async def bench(ctx):
        room, offered = config.prefetch_beats, 0
        for cycle in range(600):
            push = room >= config.bus_beats and pushes(cycle)
            ctx.set(unit.i.valid, push)
            ctx.set(unit.i.payload, rng.getrandbits(8 * config.bus_bytes))
            if push:
                beats = [rng.getrandbits(8 * config.beat_bytes) for _ in range(config.bus_beats)]
                ctx.set(unit.i.payload, sum(beat << 8 * config.beat_bytes * i for i, beat in enumerate(beats)))
                pushed.extend(beats)
                pushed_at.append(cycle)
                room -= config.bus_beats
            bits = ctx.get(unit.o.available)
            available = bits.bit_count()
            assert bits == (1 << available) - 1, "a beat is there before the one before it"
            assert available >= offered, "a beat that was there is gone"
            take = min(wishes(cycle), available)
            ctx.set(unit.o.taken, take)
            taken[cycle] = [ctx.get(unit.o.payload[i]) for i in range(take)]
            room += take
            offered = available - take
            await ctx.tick()

    StreamBench(unit).simulate(bench)
    return taken, pushed, pushed_at


@pytest.mark.parametrize(("tile_beats", "bus_beats"), CASES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("stall", [0, 0.5])
def test_beats_leave_in_order(tile_beats, bus_beats, seed, stall):
    """Any number at a time, in any mixture, through full and empty."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    some = range(tile_beats + 1)
    greed, flow = rng.choice([some, some[1:], (1,), (0, tile_beats), (0, 0, 0, 1)]), 1 - stall * rng.random()
    taken, pushed, _ = play(config_of(tile_beats, bus_beats),
                            lambda cycle: tile_beats if cycle > 500 else rng.choice(greed),
                            lambda cycle: cycle < 500 and rng.random() < flow, seed)
    assert len(pushed) > 100
    assert [beat for beats in taken.values() for beat in beats] == pushed


@pytest.mark.parametrize(("tile_beats", "bus_beats"), CASES)
@pytest.mark.parametrize("before", range(8))
def test_a_full_fifo_is_emptied_without_a_gap(tile_beats, bus_beats, before):
    """``tile_beats`` a cycle, whichever bank is first: ``before`` of them have left."""
    config = config_of(tile_beats, bus_beats)
    before %= tile_beats
    taken, pushed, _ = play(config, lambda cycle: before if cycle == 99 else tile_beats if cycle >= 100 else 0,
                            lambda cycle: cycle < 90)
    assert len(pushed) == config.prefetch_beats
    counts = [len(taken[cycle]) for cycle in range(99, 600)]
    whole, rest = divmod(config.prefetch_beats - before, tile_beats)
    assert counts == [before] + whole * [tile_beats] + [rest] + (len(counts) - whole - 2) * [0]


@pytest.mark.parametrize(("tile_beats", "bus_beats"), CASES)
def test_as_fast_as_they_come(tile_beats, bus_beats):
    """After `latency` cycles a bus beat in every cycle: with two beats in it, two leave."""
    taken, _, pushed_at = play(config_of(tile_beats, bus_beats), lambda cycle: tile_beats, lambda cycle: cycle >= 5)
    assert pushed_at == list(range(5, 600))
    assert all(len(taken[cycle]) == (bus_beats if cycle >= 5 + Prefetch.latency else 0) for cycle in taken)
