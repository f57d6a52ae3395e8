# SPDX-License-Identifier: Apache-2.0
import random
from dataclasses import replace

import pytest

from moevit.hw.bus.bursts import BURST_BEATS, BurstSplitter
from moevit.hw.bus.read_master import QUIET_CYCLES, ReadMaster
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS

BASE, LIMIT = 0x1_0000, 0x8_0000


class Bench:
    """A read master between a source of commands, a slave and a sink."""

    def __init__(self, kit, config="8x8", commands=(), *, seed=0, stall=0.0, slave=None, **options):
        self.kit = kit
        self.config = TEST_CONFIGS.get(config, config)
        self.unit = ReadMaster(self.config, **options)
        self.bytes = self.config.bus_bytes
        self.slave = kit.ReadSlave(self.unit.bus, self.bytes, seed=seed, stall=stall, **slave or {})
        self.source = kit.Source(self.unit.command, [{"address": a, "beats": b} for a, b in commands],
                                 seed=seed + 1, stall=stall)
        self.sink = kit.BeatsSink(self.unit.beats, seed=seed + 2, stall=stall)
        self.faults = kit.Pulses(self.unit.fault.valid, self.unit.fault.payload.code, self.unit.fault.payload.address)
        self.received = kit.Pulses(self.unit.beat)
        self.window = (BASE, LIMIT)

    def expected(self, *commands):
        """Beats, the low half of a bus beat first."""
        width = 8 * self.config.beat_bytes
        return [self.slave.data(a + i * self.bytes) >> part * width & (1 << width) - 1
                for a, b in commands for i in range(b) for part in range(self.config.bus_beats)]

    def run(self, testbench):
        async def wrapped(ctx):
            ctx.set(self.unit.base, self.window[0])
            ctx.set(self.unit.limit, self.window[1])
            await testbench(ctx)

        self.kit.simulate(self.unit, wrapped, self.slave, self.source, self.sink, self.faults, self.received)

    async def settle(self, ctx, limit=5000):
        """Until the bus has been quiet for a while and ``drained`` says so."""
        quiet = 0
        for _ in range(limit):
            await ctx.tick()
            quiet = quiet + 1 if ctx.get(self.unit.drained) and not ctx.get(self.unit.beats.available) else 0
            if quiet > 40:
                return
        raise AssertionError("never drained")

    async def abort(self, ctx, cycles=1):
        self.source.clear()
        ctx.set(self.unit.abort, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(self.unit.abort, 0)
        await ctx.tick()

    async def works_again(self, ctx, command=(BASE + 0x2000, 33)):
        """After an abort that drained, the next command is read as if nothing had been."""
        del self.sink.items[:]
        del self.faults.seen[:]
        self.source.items.append({"address": command[0], "beats": command[1]})
        await self.kit.until(ctx, lambda: len(self.sink.items) == len(self.expected(command)))
        await self.settle(ctx)
        assert self.sink.items == self.expected(command)
        assert not self.faults.seen


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


def test_a_long_silence_is_no_error(kit):  # A7
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


# A1-A3: the first, a middle and the last beat of a burst; A4: the whole burst.
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


# A8, A9: RLAST early, missing, and one beat too late; in the middle of a command and in its last burst.
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


def test_beats_nobody_asked_for_are_ignored(kit):  # A11
    bench = Bench(kit)

    async def testbench(ctx):
        bench.slave.extra.extend([{"data": 1, "resp": 2, "last": 0}, {"data": 2, "resp": 0, "last": 1}] * 5)
        await ctx.tick().repeat(30)
        assert not bench.sink.items and not bench.faults.seen
        await bench.works_again(ctx)

    bench.run(testbench)


TOP = 1 << 40


@pytest.mark.parametrize(("window", "command", "code"), [
    ((BASE, LIMIT), (BASE - 8, 1), ErrorCode.READ_WINDOW),  # C20
    ((BASE, LIMIT), (BASE - 8, 2), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (LIMIT, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (0, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (TOP - 8, 1), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (LIMIT - 64, 9), ErrorCode.READ_WINDOW),  # C22
    ((BASE, LIMIT), (BASE, (1 << 24) - 1), ErrorCode.READ_WINDOW),
    ((0, 1 << 64), (TOP - 8, 2), ErrorCode.READ_WINDOW),  # C23
    ((0, 1 << 63), (TOP - 16, 1 << 20), ErrorCode.READ_WINDOW),
    ((0, (1 << 32)), ((1 << 32) - 8, 2), ErrorCode.READ_WINDOW),
    ((BASE, LIMIT), (BASE + 4, 1), ErrorCode.ALIGNMENT),  # C24
    ((BASE, LIMIT), (BASE + 1, 0), ErrorCode.ALIGNMENT),
    ((LIMIT, BASE), (BASE, 1), ErrorCode.READ_WINDOW),  # C27
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


def test_an_address_that_is_never_taken_stays(kit):  # A5: the watchdog reports it; AXI forbids to take it back
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


def test_data_that_never_come_keep_the_master_from_draining(kit):  # A6
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
def test_abort_in_every_cycle(kit, start):  # I78, I81
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
