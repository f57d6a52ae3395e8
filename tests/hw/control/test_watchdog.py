# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.sim import Simulator

from moevit.hw.control.watchdog import Watchdog


def fired(limit, cycles):
    """Cycles in which a watchdog with ``limit`` fires, given (running, progress) cycle by cycle."""
    unit, seen = Watchdog(), []

    async def testbench(ctx):
        ctx.set(unit.limit, limit)
        await ctx.tick()
        for cycle, (running, progress) in enumerate(cycles):
            ctx.set(unit.running, running)
            ctx.set(unit.progress, progress)
            await ctx.delay(1e-7)
            if ctx.get(unit.expired):
                seen.append(cycle)
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return seen


def expected(limit, cycles):
    """The same, by counting."""
    seen, idle = [], 0
    for cycle, (running, progress) in enumerate(cycles):
        idle = idle + 1 if running and not progress else 0
        if limit and idle == limit:
            seen.append(cycle)
    return seen


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 40])  # I84
def test_a_standstill(limit):
    cycles = [(0, 0)] * 5 + [(1, 0)] * 60 + [(1, 1)] + [(1, 0)] * 60 + [(0, 0)] * 5
    assert fired(limit, cycles) == expected(limit, cycles)
    assert len(expected(limit, cycles)) == (2 if limit else 0)


def test_progress_just_in_time():
    cycles = ([(1, 0)] * 9 + [(1, 1)]) * 10
    assert fired(10, cycles) == []
    assert len(fired(9, cycles)) == 10


@pytest.mark.parametrize("seed", range(4))
def test_any_run(seed):
    rng = random.Random(seed)
    cycles = [(int(rng.random() < 0.95), int(rng.random() < 0.3)) for _ in range(400)]
    assert fired(3, cycles) == expected(3, cycles)
