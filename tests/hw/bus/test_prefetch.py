# SPDX-License-Identifier: Apache-2.0
"""The prefetch FIFO with its room reserved as the read master does."""

import random

import pytest
from amaranth.sim import Simulator

from moevit.hw.bus.prefetch import Prefetch

from ...configs import TEST_CONFIGS

NAMES = ["8x8", "8x8_wide"]


def play(name, wishes, pushes, seed=1):
    """Push while there is room and ``pushes(cycle)``, take ``min(wishes(cycle), available)``.

    Returns {cycle: beats taken}, the beats pushed and the cycles in which they were.
    """
    config = TEST_CONFIGS[name]
    unit, rng = Prefetch(config), random.Random(seed)
    taken, pushed, pushed_at = {}, [], []

    async def bench(ctx):
        room, offered = config.stream_beats, 0
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
            available = ctx.get(unit.o.available)
            assert available >= offered, "a beat that was there is gone"
            take = min(wishes(cycle), available)
            ctx.set(unit.o.taken, take)
            taken[cycle] = [ctx.get(unit.o.payload[i]) for i in range(take)]
            room += take
            offered = available - take
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return taken, pushed, pushed_at


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("stall", [0, 0.5])
def test_beats_leave_in_order(name, seed, stall):
    """One or two at a time, in any mixture, through full and empty."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    greed, flow = rng.choice([(0, 1, 2), (1, 2), (1,), (2,), (0, 0, 0, 1)]), 1 - stall * rng.random()
    taken, pushed, _ = play(name, lambda cycle: 2 if cycle > 500 else rng.choice(greed),
                            lambda cycle: cycle < 500 and rng.random() < flow, seed)
    assert len(pushed) > 100
    assert [beat for beats in taken.values() for beat in beats] == pushed


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", [False, True])
def test_two_a_cycle_from_a_full_fifo(name, odd):
    """All that fits, without a gap, whichever bank is first."""
    depth = TEST_CONFIGS[name].stream_beats
    taken, pushed, _ = play(name, lambda cycle: 1 if cycle == 99 and odd else 2 if cycle >= 100 else 0,
                            lambda cycle: cycle < 100)
    assert len(pushed) == depth
    left = depth - odd
    counts = [len(taken[cycle]) for cycle in range(100, 100 + (left + 1) // 2)]
    assert sum(counts) == left and counts[:-1] == [2] * (len(counts) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_as_fast_as_they_come(name):
    """Three cycles, then a bus beat in every cycle: with two beats in it, two leave."""
    config = TEST_CONFIGS[name]
    taken, pushed, pushed_at = play(name, lambda cycle: 2, lambda cycle: cycle >= 5)
    assert pushed_at == list(range(5, 600))
    assert all(len(taken[cycle]) == (config.bus_beats if cycle >= 8 else 0) for cycle in taken)
