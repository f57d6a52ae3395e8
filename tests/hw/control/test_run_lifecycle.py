# SPDX-License-Identifier: Apache-2.0
"""The run lifecycle between a memory, units that take their time, and a host that interrupts."""


import pytest

from moevit.hw.control.run_lifecycle import DRAIN_LIMIT, RunLifecycle
from moevit.sim.bench.stream_bench import StreamBench

from ...configs import TEST_CONFIGS
from .walk_world import END, FRAME, SPECULATIVE, World, linear


def test_runs_again():
    world = World([linear(), END], seed=3).run(runs=1)
    first = list(world.dispatched)
    world.pulses.clear()
    world.run()
    assert world.dispatched == first * 2


@pytest.mark.parametrize("program", [FRAME, SPECULATIVE], ids=["", "speculation"])
@pytest.mark.parametrize("at", [1, 5, 40, 90, 133, 200, 350])
def test_failure_anywhere(at, program):
    """The machine is idle again, once the bus is drained."""
    world = World(program, seed=10, lengths=[2, 0] * 4, slow=100)
    world.fail_at, world.drained_at = at, at + 60
    world.run()
    assert world.pulses == [("error", at + 60)]
    assert not world.unfinished


@pytest.mark.parametrize("at", [1, 2, 40, 90, 133, 200])
def test_reset_anywhere(at):
    world = World(FRAME, seed=11, lengths=[2] * 8)
    world.reset_at, world.drained_at = at, at + 30
    world.run()
    assert world.pulses == [("reset_done", at + 30)]


def test_reset_when_idle():
    lifecycle = RunLifecycle(TEST_CONFIGS["8x8"])
    seen = []

    async def bench(ctx):
        ctx.set(lifecycle.drained, 1)
        for cycle in range(8):
            ctx.set(lifecycle.reset, cycle == 2)
            seen.append((ctx.get(lifecycle.reset_done), ctx.get(lifecycle.idle), ctx.get(lifecycle.clear)))
            await ctx.tick()

    StreamBench(lifecycle).simulate(bench)
    assert [done for done, _, _ in seen].count(1) == 1
    assert seen[3] == (0, 0, 1) and seen[-1] == (0, 1, 0)


def test_memory_that_never_answers():
    """The error is reported though the machine cannot become idle; reset waits."""
    world = World([linear(), END], seed=12)
    world.fail_at, world.drained_at = 50, 10**9
    with pytest.raises(AssertionError, match="not idle"):
        world.run(limit=DRAIN_LIMIT + 300)
    (name, cycle), = world.pulses
    assert name == "error" and DRAIN_LIMIT < cycle < DRAIN_LIMIT + 60
