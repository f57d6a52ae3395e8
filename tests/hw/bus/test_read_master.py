# SPDX-License-Identifier: Apache-2.0
import random
from dataclasses import replace

import pytest

from moevit.hw.bus.bursts import BURST_BEATS, BurstSplitter
from moevit.hw.bus.read_master import ReadMaster
from moevit.spec.arrays import CONFIGS

from ...configs import TEST_CONFIGS
from .read_master_bench import BASE, LIMIT, Bench


@pytest.mark.parametrize("config", ["8x8", "8x16", "8x8_wide"])
@pytest.mark.parametrize("seed", range(8))
def test_data_arrive_in_order_whatever_stalls(kit, config, seed):
    rng = random.Random(seed)
    size = TEST_CONFIGS[config].bus_bytes
    commands = [(BASE + rng.randrange(4096) * size, rng.choice([0, 1, 2, 15, 16, 17, 33, rng.randrange(120)]))
                for _ in range(8)]
    commands.append((BASE + 4096 - 3 * size, 7))
    bench = Bench(kit, config, commands, seed=seed, stall=rng.choice([0.0, 0.2, 0.5, 0.8]),
                  slave={"latency": rng.choice([0, 1, 20])})

    async def testbench(ctx):
        await kit.until(ctx, lambda: len(bench.sink.items) == len(bench.expected(*commands)), 20000)
        await bench.settle(ctx)

    bench.run(testbench)
    assert bench.sink.items == bench.expected(*commands)
    assert not bench.faults.seen
    assert len(bench.received.seen) * bench.config.bus_beats == len(bench.sink.items)


@pytest.mark.parametrize("latency", [0, 60])
@pytest.mark.parametrize("bus_beats", [1, 2])
def test_a_bus_beat_every_cycle(kit, latency, bus_beats):
    beats = 512
    bench = Bench(kit, replace(CONFIGS["16x16"], bus_beats=bus_beats, prefetch_beats=512 * bus_beats),
                  [(BASE, beats // 2), (BASE + 0x4000, beats // 2)], slave={"latency": latency})

    async def testbench(ctx):
        await kit.until(ctx, lambda: len(bench.sink.items) == beats * bus_beats)

    bench.run(testbench)
    assert bench.sink.cycles == [bench.sink.cycles[0] + index // bus_beats for index in range(beats * bus_beats)]
    assert bench.sink.cycles[0] == bench.received.seen[0][0] - 1 + ReadMaster.latency  # `beat` comes one cycle after R


def test_latency_of_addresses(kit):
    bench = Bench(kit, commands=[(BASE, 1)])
    shown = kit.Pulses(bench.unit.bus.ar.valid)

    async def testbench(ctx):
        ctx.set(bench.unit.limit, LIMIT)
        await ctx.tick().repeat(30)

    kit.simulate(bench.unit, testbench, bench.slave, bench.source, bench.sink, shown)
    taken = 1  # the source shows the command in cycle 1
    assert shown.seen[0][0] == taken + BurstSplitter.latency + ReadMaster.latency_address


@pytest.mark.parametrize("config", ["8x8", "8x8_wide"])
def test_room_is_reserved_before_the_burst_is_issued(kit, config):
    bench = Bench(kit, config, commands=[(BASE, 200)], outstanding=16)
    bench.sink.accept = False

    async def testbench(ctx):
        for taken in (0, 20, 36):  # less than a burst is of no use
            bench.sink.accept = taken > 0
            await kit.until(ctx, lambda taken=taken: len(bench.sink.items) >= taken)
            bench.sink.accept = False
            await ctx.tick().repeat(200)
            size = BURST_BEATS * bench.config.bus_beats
            issued = sum(length for _, length in bench.slave.bursts) * bench.config.bus_beats
            assert issued == bench.config.prefetch_beats + len(bench.sink.items) // size * size
        bench.sink.accept = True
        await kit.until(ctx, lambda: len(bench.sink.items) == len(bench.expected((BASE, 200))))

    bench.run(testbench)
    assert bench.sink.items == bench.expected((BASE, 200))


@pytest.mark.parametrize("outstanding", [1, 2, 8])
def test_outstanding_bursts_are_bounded(kit, outstanding):
    bench = Bench(kit, "16x16", [(BASE, 512)], outstanding=outstanding)
    bench.slave.answer = False

    async def testbench(ctx):
        await ctx.tick().repeat(100)
        assert len(bench.slave.bursts) == outstanding
        assert not ctx.get(bench.unit.drained)
        bench.slave.answer = True
        await kit.until(ctx, lambda: len(bench.sink.items) == 512)

    bench.run(testbench)
    assert bench.sink.items == bench.expected((BASE, 512))


def test_a_long_silence_is_no_error(kit):
    bench = Bench(kit, commands=[(BASE, 40)])

    async def testbench(ctx):
        await kit.until(ctx, lambda: len(bench.sink.items) == 5)
        bench.slave.answer = False
        await ctx.tick().repeat(3000)
        bench.slave.answer = True
        await kit.until(ctx, lambda: len(bench.sink.items) == 40)

    bench.run(testbench)
    assert bench.sink.items == bench.expected((BASE, 40))
    assert not bench.faults.seen


def test_an_address_that_is_never_taken_stays(kit):  # the watchdog reports it; AXI forbids to take it back
    bench = Bench(kit, commands=[(BASE, 20)])
    bench.slave.accept = False

    async def testbench(ctx):
        await ctx.tick().repeat(100)
        await bench.abort(ctx)
        await ctx.tick().repeat(400)
        assert not ctx.get(bench.unit.drained)
        bench.slave.accept = True
        await bench.settle(ctx)
        assert not bench.sink.items
        assert len(bench.slave.bursts) == 1
        await bench.works_again(ctx)

    bench.run(testbench)


def test_data_that_never_come_keep_the_master_from_draining(kit):
    bench = Bench(kit, commands=[(BASE, 20)])
    bench.slave.answer = False

    async def testbench(ctx):
        await ctx.tick().repeat(100)
        await bench.abort(ctx, 50)
        await ctx.tick().repeat(400)
        assert not ctx.get(bench.unit.drained)
        bench.slave.answer = True
        await bench.settle(ctx)
        assert not bench.sink.items
        await bench.works_again(ctx)

    bench.run(testbench)


def test_an_abort_forgets_beats_that_wait(kit):
    bench = Bench(kit, commands=[(BASE, 60)])
    bench.sink.accept = False

    async def testbench(ctx):
        await ctx.tick().repeat(100)
        assert ctx.get(bench.unit.beats.available)
        await bench.abort(ctx)
        await bench.settle(ctx)
        assert not ctx.get(bench.unit.beats.available)
        bench.sink.accept = True
        await bench.works_again(ctx)

    bench.run(testbench)


@pytest.mark.parametrize("start", range(0, 60, 6))
def test_abort_in_every_cycle(kit, start):
    bench = Bench(kit, commands=[(BASE, 50)], seed=start, stall=0.3, slave={"latency": 4})

    async def testbench(ctx):
        for after in range(start, start + 6):
            await ctx.tick().repeat(after + 1)
            await bench.abort(ctx)
            took = await kit.until(ctx, lambda: ctx.get(bench.unit.drained), 400)
            assert not bench.slave.beats, f"drained after {took} cycles with beats under way"
            await bench.works_again(ctx)
            bench.source.items.append({"address": BASE, "beats": 50})

    bench.run(testbench)
    assert not bench.faults.seen


def test_arguments_are_checked(unused_allowed):
    with pytest.raises(ValueError, match="outstanding must be at least 1, not 0"):
        ReadMaster(CONFIGS["8x8"], outstanding=0)
