# SPDX-License-Identifier: Apache-2.0
"""Who asked for a beat, and which instruction is the oldest one under way."""

import random
from collections import deque

import pytest

from moevit.hw.control.origin import Origin
from moevit.sim.bench.stream_bench import StreamBench


@pytest.mark.parametrize("seed", range(3))
def test_beats(seed):
    """Beats come in the order of the commands, at any distance from them; clear forgets."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    origin = Origin()
    owed, coming, latest, seen = [], deque(), 0, 0

    async def bench(ctx):
        nonlocal latest, seen
        for cycle in range(600):
            clear = cycle == 400
            ask = bool(ctx.get(origin.room)) and rng.random() < 0.2 and not clear
            while coming and coming[0][0] <= cycle:
                owed.extend(coming.popleft()[1])
            beat = bool(owed) and rng.random() < 0.7
            ctx.set(origin.clear, clear)
            ctx.set(origin.asked.valid, ask)
            ctx.set(origin.beat, beat)
            if beat:
                assert ctx.get(origin.beat_pc) == owed.pop(0)
                seen += 1
            assert ctx.get(origin.command_pc) == latest
            if ask:
                latest, beats = rng.randrange(4096), rng.randrange(1, 8)
                ctx.set(origin.asked.payload, {"pc": latest, "last": beats - 1})
            await ctx.tick()
            if clear:
                owed.clear()
                coming.clear()
            elif ask:
                coming.append((cycle + 4, [latest] * beats))

    StreamBench(origin).simulate(bench)
    assert seen > 250


def test_room():
    origin = Origin()

    async def bench(ctx):
        taken = 0
        while ctx.get(origin.room):
            ctx.set(origin.asked.valid, 1)
            await ctx.tick()
            taken += 1
        assert taken == 17

    StreamBench(origin).simulate(bench)


def test_oldest():
    origin = Origin(depth=8)
    places = [100 + 3 * index for index in range(20)]

    async def bench(ctx):
        for sequence, pc in enumerate(places):
            ctx.set(origin.dispatched, 1)
            ctx.set(origin.dispatched_pc, pc)
            ctx.set(origin.sequence, sequence)
            await ctx.tick()
            ctx.set(origin.dispatched, 0)
            ctx.set(origin.sequence, sequence + 1)
            ctx.set(origin.finished, max(0, sequence - 4))
            for _ in range(3):
                await ctx.tick()
            assert ctx.get(origin.oldest_pc) == places[max(0, sequence - 4)]
        ctx.set(origin.finished, len(places))
        ctx.set(origin.dispatched_pc, 7)
        for _ in range(3):
            await ctx.tick()
        assert ctx.get(origin.oldest_pc) == 7, "nothing is under way: where the walk is"

    StreamBench(origin).simulate(bench)


def test_latencies():
    origin = Origin(depth=8)
    found = []

    def step(ctx, cycle):
        ctx.set(origin.asked.valid, cycle == 2)
        ctx.set(origin.asked.payload.pc, 40 + cycle)
        ctx.set(origin.dispatched, cycle < 2)
        ctx.set(origin.dispatched_pc, 50 + cycle)
        ctx.set(origin.sequence, min(cycle, 2))
        ctx.set(origin.finished, cycle >= 6)
        found.append((ctx.get(origin.command_pc), ctx.get(origin.oldest_pc)))

    StreamBench(origin).play(step, 12)
    commands, oldest = zip(*found, strict=True)
    assert commands.index(42) == 2 + Origin.latency
    assert oldest[5] == 50 and oldest.index(51, 5) == 6 + Origin.latency_oldest


def test_refuses_depth(unused_allowed):
    with pytest.raises(ValueError, match="12"):
        Origin(12)
