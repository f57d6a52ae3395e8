# SPDX-License-Identifier: Apache-2.0
"""What a read master makes of wrong answers and refused commands."""

import pytest

from moevit.hw.bus.bursts import BURST_BEATS
from moevit.hw.bus.read_master import QUIET_CYCLES
from moevit.spec.registers import ErrorCode

from .read_master_bench import BASE, LIMIT, Bench


# The first, a middle and the last beat of a burst; then the whole burst.
@pytest.mark.parametrize(("resp", "code"), [(2, ErrorCode.READ_SLAVE), (3, ErrorCode.READ_DECODE),
                                            (1, ErrorCode.READ_PROTOCOL)])
@pytest.mark.parametrize("beats", [[16], [20], [31], [18, 25], list(range(16, 32))])
def test_error_responses(kit, resp, code, beats):
    stall = 0.5 * (resp + len(beats) & 1)
    respond = {BASE + 8 * beat: resp for beat in beats}
    bench = Bench(kit, commands=[(BASE, 64), (BASE, 64)], stall=stall, seed=sum(beats), slave={"respond": respond})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.faults.seen)
        await bench.settle(ctx)
        assert not bench.slave.beats, "drained with beats under way"
        assert [fault[1:] for fault in bench.faults.seen] == [(code, BASE + 8 * beats[0])]
        assert bench.sink.items == bench.expected((BASE, beats[0]))
        bursts = len(bench.slave.bursts)
        await ctx.tick().repeat(50)
        assert len(bench.slave.bursts) == bursts, "a burst was issued after an error"
        await bench.abort(ctx)
        await bench.settle(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)


# RLAST early, missing, and one beat too late; in the middle of a command and in its last burst.
@pytest.mark.parametrize("how", ["early", "missing", "late"])
@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_last_at_the_wrong_beat(kit, how, burst, stall):
    address = BASE + burst * BURST_BEATS * 8
    bench = Bench(kit, commands=[(BASE, 64)], stall=stall, slave={"last": {address: how}})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.faults.seen)
        wrong = 0 if how == "early" else 15
        assert bench.faults.seen[0][1:] == (ErrorCode.READ_PROTOCOL, address + wrong * 8)
        await bench.abort(ctx)
        assert await kit.until(ctx, lambda: ctx.get(bench.unit.drained)) >= QUIET_CYCLES - 100
        assert not bench.slave.beats
        await bench.settle(ctx)
        assert len(bench.faults.seen) == 1
        await bench.works_again(ctx)

    bench.run(testbench)
    assert not bench.faults.seen


def test_beats_nobody_asked_for_are_ignored(kit):
    bench = Bench(kit)

    async def testbench(ctx):
        bench.slave.extra.extend([{"data": 1, "resp": 2, "last": 0}, {"data": 2, "resp": 0, "last": 1}] * 5)
        await ctx.tick().repeat(30)
        assert not bench.sink.items and not bench.faults.seen
        await bench.works_again(ctx)

    bench.run(testbench)


TOP = 1 << 40


@pytest.mark.parametrize(("window", "command", "code"), [
    ((BASE, LIMIT), (BASE - 8, 1), ErrorCode.READ_WINDOW),  # in front of the window
    ((BASE, LIMIT), (BASE - 8, 2), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (LIMIT, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (0, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (TOP - 8, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (LIMIT - 64, 9), ErrorCode.READ_WINDOW),  # across the end of the window
    ((BASE, LIMIT), (BASE, (1 << 24) - 1), ErrorCode.READ_WINDOW),
    ((0, 1 << 64), (TOP - 8, 2), ErrorCode.READ_WINDOW),  # across the end of the address space
    ((0, 1 << 63), (TOP - 16, 1 << 20), ErrorCode.READ_WINDOW),
    ((0, (1 << 32)), ((1 << 32) - 8, 2), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (BASE + 4, 1), ErrorCode.ALIGNMENT),  # misaligned
    ((BASE, LIMIT), (BASE + 1, 0), ErrorCode.ALIGNMENT),
    ((LIMIT, BASE), (BASE, 1), ErrorCode.READ_WINDOW),  # the limit is below the base
    ((BASE, BASE), (BASE, 1), ErrorCode.READ_WINDOW),
    ((1 << 41, 1 << 42), (BASE, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (LIMIT + 8, 0), ErrorCode.READ_WINDOW),
])
def test_refused_whole(kit, window, command, code):
    bench = Bench(kit, commands=[command, (BASE, 4)])
    bench.window = (window[0], min(window[1], (1 << 64) - 1))

    async def testbench(ctx):
        await ctx.tick().repeat(60)
        assert [fault[1:] for fault in bench.faults.seen] == [(code, command[0])]
        assert not bench.slave.bursts
        assert ctx.get(bench.unit.drained)
        await bench.abort(ctx)
        ctx.set(bench.unit.base, BASE)
        ctx.set(bench.unit.limit, LIMIT)
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize(("window", "command"), [
    ((BASE, LIMIT), (LIMIT - 64, 8)),
    ((BASE, BASE + 8), (BASE, 1)),
    ((0, (1 << 64) - 1), (TOP - 24, 3)),
    ((0, TOP), (TOP - 24, 3)),
    ((0, (1 << 64) - 1), ((1 << 32) - 24, 6)),
    ((BASE, LIMIT), (LIMIT, 0)),
])
def test_up_to_the_edge_of_the_window(kit, window, command):
    bench = Bench(kit, commands=[command])
    bench.window = window

    async def testbench(ctx):
        await ctx.tick().repeat(60)

    bench.run(testbench)
    assert bench.sink.items == bench.expected(command)
    assert not bench.faults.seen
