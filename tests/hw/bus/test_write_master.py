# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.bus.write_master import WriteMaster
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS
from .write_master_bench import BASE, LIMIT, Bench

TOP = 1 << 40


@pytest.mark.parametrize("config", ["8x8", "8x16", "8x8_wide"])
@pytest.mark.parametrize("seed", range(8))
def test_words_arrive_whatever_stalls(kit, config, seed):
    rng = random.Random(seed)
    size = TEST_CONFIGS[config].bus_bytes
    commands = [(BASE + i * 4096 + rng.randrange(200) * size, rng.choice([0, 1, 2, 7, 8, 9, 16, rng.randrange(70)]))
                for i in range(6)]
    commands.append((BASE + 0x1_0000 - 3 * size, 9))
    bench = Bench(kit, config, commands, seed=seed, stall=rng.choice([0.0, 0.2, 0.5, 0.8]),
                  slave={"latency": rng.choice([0, 1, 20])})

    async def testbench(ctx):
        await kit.until(ctx, lambda: len(bench.done.seen) == len(commands), 20000)
        await ctx.tick().repeat(20)

    bench.run(testbench)
    assert bench.slave.memory == bench.memory
    assert not bench.faults.seen
    assert len(bench.done.seen) == len(commands)
    assert len(bench.written.seen) == sum(words * bench.config.word_bus_beats for _, words in commands)


@pytest.mark.parametrize("config", ["8x8", "8x16", "8x8_wide"])
def test_latency(kit, config):
    """From a word on ``words`` to W, when the burst is on AW."""
    bench = Bench(kit, config)
    bench.give(BASE, 1, with_words=False)
    sent = kit.Pulses(bench.unit.bus.w.valid)

    async def testbench(ctx):
        ctx.set(bench.unit.limit, LIMIT)
        await ctx.tick().repeat(40)
        assert bench.slave.bursts and not sent.seen
        ctx.set(bench.unit.words.valid, 1)
        await ctx.tick().repeat(WriteMaster.latency)
        assert ctx.get(bench.unit.bus.w.valid)

    kit.simulate(bench.unit, testbench, bench.slave, bench.commands, sent)


@pytest.mark.parametrize("config", ["8x8", "8x16", "8x8_wide"])
def test_a_beat_every_cycle(kit, config):
    words = 128
    bench = Bench(kit, config, [(BASE, words)], slave={"latency": 20})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.done.seen)

    bench.run(testbench)
    first, last = bench.written.seen[0][0], bench.written.seen[-1][0]
    assert last - first == words * bench.config.word_bus_beats - 1


# The address long after the data, and the other way round.
@pytest.mark.parametrize("late", ["accept_address", "accept_data"])
def test_address_and_data_in_any_order(kit, late):
    bench = Bench(kit, commands=[(BASE, 16)])
    setattr(bench.slave, late, False)

    async def testbench(ctx):
        await ctx.tick().repeat(200)
        if late == "accept_address":
            assert len(bench.slave.beats) >= 16 and not bench.slave.bursts
        else:
            assert len(bench.slave.bursts) == 2 and not bench.slave.beats
        setattr(bench.slave, late, True)
        await kit.until(ctx, lambda: bench.done.seen)

    bench.run(testbench)
    assert bench.slave.memory == bench.memory


# A channel that never moves. The watchdog reports it; after an abort what was shown stays until it is taken.
@pytest.mark.parametrize("stuck", ["accept_address", "accept_data", "answer"])
def test_a_stuck_channel_keeps_the_master_from_draining(kit, stuck):
    bench = Bench(kit, commands=[(BASE, 100)])
    setattr(bench.slave, stuck, False)

    async def testbench(ctx):
        await ctx.tick().repeat(300)
        assert not bench.done.seen
        await bench.abort(ctx)
        await ctx.tick().repeat(300)
        assert not ctx.get(bench.unit.drained)
        setattr(bench.slave, stuck, True)
        await bench.drained(ctx)
        assert not bench.done.seen
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize("burst", [0, 2, 3])
@pytest.mark.parametrize(("resp", "code"), [(2, ErrorCode.WRITE_SLAVE), (3, ErrorCode.WRITE_DECODE)])  # SLVERR, DECERR
def test_error_responses(kit, resp, code, burst):
    address = BASE + burst * 128
    stall = 0.5 * (resp + burst & 1)
    bench = Bench(kit, commands=[(BASE, 32), (BASE + 4096, 32)], stall=stall, seed=burst,
                  slave={"respond": {address: resp}})

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.faults.seen)
        await bench.drained(ctx)
        await ctx.tick().repeat(100)
        assert [fault[1:] for fault in bench.faults.seen] == [(code, address)]
        assert not bench.done.seen
        assert all(start < BASE + 4096 for start, _ in bench.slave.bursts)
        assert bench.slave.memory.items() <= bench.memory.items()
        await bench.abort(ctx)
        await bench.drained(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)


def test_a_response_before_the_last_beat(kit):
    bench = Bench(kit)

    async def testbench(ctx):
        for _ in range(2):
            bench.give(BASE, 32)
            bench.slave.early.update(BASE + 128 * burst for burst in range(4))
            bench.slave.accept_data = False
            await kit.until(ctx, lambda: bench.faults.seen)
            assert [fault[1:] for fault in bench.faults.seen] == [(ErrorCode.WRITE_SLAVE, BASE)]
            await ctx.tick().repeat(50)
            assert not ctx.get(bench.unit.drained), "drained with beats to send"
            bench.slave.accept_data = True
            await bench.drained(ctx)
            assert len(bench.slave.beats) == sum(length for _, length in bench.slave.bursts)
            assert not bench.done.seen
            assert set(bench.slave.memory) <= set(range(BASE, BASE + 8))  # the beat that was on W already
            bench.slave.early.clear()
            await bench.abort(ctx)
            await bench.drained(ctx)
            await bench.works_again(ctx)
            bench.slave.memory.clear()
            bench.done.seen.clear()

    bench.run(testbench)


def test_responses_nobody_asked_for_are_ignored(kit):
    bench = Bench(kit)

    async def testbench(ctx):
        bench.slave.stray.extend([2, 0, 3])
        await ctx.tick().repeat(20)
        assert not bench.faults.seen
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize(("window", "command", "code"), [
    ((BASE, LIMIT), (BASE - 8, 1), ErrorCode.WRITE_WINDOW),  # in front of the window
    ((BASE, LIMIT), (LIMIT, 1), ErrorCode.WRITE_WINDOW),
    ((BASE, LIMIT), (LIMIT - 64, 5), ErrorCode.WRITE_WINDOW),  # across the end of the window
    ((BASE, LIMIT), (LIMIT - 8, 1), ErrorCode.WRITE_WINDOW),
    ((BASE, LIMIT), (BASE, (1 << 24) - 1), ErrorCode.WRITE_WINDOW),
    ((0, (1 << 64) - 1), (TOP - 8, 1), ErrorCode.WRITE_WINDOW),  # across the end of the address space
    ((BASE, LIMIT), (BASE + 2, 1), ErrorCode.ALIGNMENT),  # misaligned
    ((LIMIT, BASE), (BASE, 1), ErrorCode.WRITE_WINDOW),  # the limit is below the base
    ((BASE, LIMIT), (LIMIT + 8, 0), ErrorCode.WRITE_WINDOW),
])
def test_refused_whole(kit, window, command, code):
    bench = Bench(kit)
    bench.give(*command, with_words=False)
    bench.window = window
    bench.words.items.extend([[1] * 8] * 20)

    async def testbench(ctx):
        await ctx.tick().repeat(60)
        assert [fault[1:] for fault in bench.faults.seen] == [(code, command[0])]
        assert not bench.slave.bursts and not bench.slave.beats and not bench.done.seen
        assert ctx.get(bench.unit.drained)
        await bench.abort(ctx)
        await bench.works_again(ctx)

    bench.run(testbench)


def test_up_to_the_edge_of_the_window(kit):
    bench = Bench(kit, commands=[(LIMIT - 64, 4)])

    async def testbench(ctx):
        await kit.until(ctx, lambda: bench.done.seen)

    bench.run(testbench)
    assert bench.slave.memory == bench.memory
    assert not bench.faults.seen


def test_an_abort_finishes_bursts_without_words(kit):
    bench = Bench(kit, "8x16")
    bench.give(BASE, 40, with_words=False)
    bench.words.items.extend([[7] * 8] * 3)

    async def testbench(ctx):
        await ctx.tick().repeat(50)
        assert len(bench.slave.beats) == 3
        await bench.abort(ctx)
        await bench.drained(ctx)
        assert len(bench.slave.beats) == sum(length for _, length in bench.slave.bursts)
        assert set(bench.slave.memory) == set(range(BASE, BASE + 48))
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize("config", ["8x8", "8x16"])
@pytest.mark.parametrize("start", range(0, 60, 12))
def test_abort_in_every_cycle(kit, start, config):
    bench = Bench(kit, config, seed=start, stall=0.3, slave={"latency": 4})

    async def testbench(ctx):
        for after in range(start, start + 12):
            bench.give(BASE, 30)
            await ctx.tick().repeat(after + 1)
            await bench.abort(ctx)
            await bench.drained(ctx)
            assert len(bench.slave.beats) == sum(length for _, length in bench.slave.bursts)
            assert not bench.slave.answers
            assert bench.slave.memory.items() <= bench.memory.items()
            await bench.works_again(ctx)
        assert not bench.faults.seen

    bench.run(testbench)


def test_arguments_are_checked(unused_allowed):
    with pytest.raises(ValueError, match="outstanding must be at least 1, not 0"):
        WriteMaster(TEST_CONFIGS["8x8"], outstanding=0)
