# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.bus.registers import Registers, settings_layout, status_layout
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import (
    APERTURE,
    BITS,
    COUNTERS,
    MAGIC,
    PASS_LOG,
    PASS_LOG_ENTRIES,
    REGISTERS,
    VERSION,
    offset,
)

DONE, ERROR = 1, 2  # interrupt bits
SETTINGS = [register for register in REGISTERS if register.access == "rw" and "INTERRUPT" not in register.name]


def bits(*names):
    return sum(1 << BITS[name] for name in names)


class Log:
    """A memory in which every word tells its address."""

    def __init__(self, port):
        self.port = port

    @staticmethod
    def entry(index):
        return index * 0x1_0001_0000_0101 + 0x1234_5678_9ABC

    async def run(self, ctx):
        while True:
            _, _, enable, address = await ctx.tick().sample(self.port.enable, self.port.address)
            if enable:
                ctx.set(self.port.data, self.entry(address))


class Bench:
    """A register file, an AXI4-Lite master with a delay per channel, and a memory for the log."""

    def __init__(self, kit, config="8x8"):
        self.kit = kit
        self.config = CONFIGS[config]
        self.unit = Registers(self.config)
        self.starts, self.resets = kit.Pulses(self.unit.start), kit.Pulses(self.unit.reset)

    def run(self, testbench):
        async def wrapped(ctx):
            ctx.set(self.unit.idle, 1)
            await ctx.tick()
            assert not ctx.get(self.unit.bus.b.valid) and not ctx.get(self.unit.bus.r.valid)
            await testbench(ctx)

        self.kit.simulate(self.unit, wrapped, self.starts, self.resets, Log(self.unit.log))

    async def write(self, ctx, address, value, strobes=15, *, data_delay=0, address_delay=0, ready_delay=0):
        """One write, OKAY."""
        bus = self.unit.bus
        ctx.set(bus.aw.payload.addr, address)
        ctx.set(bus.w.payload, {"data": value, "strb": strobes})
        sent_address = sent_data = False
        answered = 0
        for cycle in range(2000):
            ctx.set(bus.aw.valid, int(not sent_address and cycle >= address_delay))
            ctx.set(bus.w.valid, int(not sent_data and cycle >= data_delay))
            _, _, aw, aw_ready, w, w_ready, b, b_ready, resp = await ctx.tick().sample(
                bus.aw.valid, bus.aw.ready, bus.w.valid, bus.w.ready, bus.b.valid, bus.b.ready, bus.b.payload.resp)
            sent_address |= bool(aw and aw_ready)
            sent_data |= bool(w and w_ready)
            assert not b or sent_address and sent_data
            assert b or not answered, "BVALID fell before BREADY"
            answered += b
            if b and b_ready:
                ctx.set(bus.b.ready, 0)
                assert resp == 0
                return
            ctx.set(bus.b.ready, int(answered >= ready_delay))
        raise AssertionError("no answer to a write")

    async def read(self, ctx, address, *, ready_delay=0):
        bus = self.unit.bus
        ctx.set(bus.ar.payload.addr, address)
        ctx.set(bus.ar.valid, 1)
        answered, first = 0, None
        for _ in range(2000):
            _, _, ar, ar_ready, r, r_ready, payload = await ctx.tick().sample(
                bus.ar.valid, bus.ar.ready, bus.r.valid, bus.r.ready, bus.r.payload)
            if ar and ar_ready:
                ctx.set(bus.ar.valid, 0)
            assert r or not answered, "RVALID fell before RREADY"
            if r:
                first = payload if first is None else first
                assert payload == first, "R changed before RREADY"
                answered += 1
            if r and r_ready:
                ctx.set(bus.r.ready, 0)
                assert payload.resp == 0
                return payload.data
            ctx.set(bus.r.ready, int(answered >= ready_delay))
        raise AssertionError("no answer to a read")

    async def pulse(self, ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    async def control(self, ctx):
        return await self.read(ctx, offset("CONTROL"))


def test_latencies(kit):
    """From AR to R; from AW and W to B and to the setting."""
    bench = Bench(kit)
    bus, settings = bench.unit.bus, bench.unit.settings

    async def cycles_until(ctx, condition):
        for cycle in range(1, 20):
            await ctx.tick()
            for channel in (bus.ar, bus.aw, bus.w):
                ctx.set(channel.valid, 0)
            if condition():
                return cycle

    async def testbench(ctx):
        ctx.set(bus.ar.payload.addr, offset("MAGIC"))
        ctx.set(bus.ar.valid, 1)
        assert await cycles_until(ctx, lambda: ctx.get(bus.r.valid)) == Registers.latency
        ctx.set(bus.aw.payload.addr, offset("WATCHDOG"))
        ctx.set(bus.w.payload, {"data": 7, "strb": 15})
        ctx.set(bus.aw.valid, 1)
        ctx.set(bus.w.valid, 1)
        assert await cycles_until(ctx, lambda: ctx.get(bus.b.valid)) == Registers.latency_write
        assert ctx.get(settings.watchdog) == 7

    bench.run(testbench)



@pytest.fixture
def bench(kit):
    return Bench(kit)


def test_layouts_cover_the_map():
    settings, status = dict(settings_layout()), dict(status_layout())
    own = {"control", "interrupt_global", "interrupt_enable", "interrupt_status",
           "magic", "version", "config_hash", "shape", "tokens"}
    fields = {register.name.lower().removesuffix("_low").removesuffix("_high") for register in REGISTERS}
    assert settings.keys() | status.keys() | own == fields
    assert not settings.keys() & status.keys()
    assert all(status[name.lower()].width == 64 for name, _ in COUNTERS)
    assert settings["read_limit"].width == 64 and settings["watchdog"].width == 32


@pytest.mark.parametrize("config", ["8x8", "8x16"])
def test_constants(kit, config):
    bench = Bench(kit, config)
    machine = CONFIGS[config]
    expected = {"MAGIC": MAGIC, "VERSION": VERSION, "CONFIG_HASH": machine.hash, "TOKENS": machine.max_tokens,
                "SHAPE": machine.k_lanes | machine.n_lanes << 8 | machine.max_experts << 16}

    async def testbench(ctx):
        for name, value in expected.items():
            await bench.write(ctx, offset(name), 0xFFFF_FFFF)
            assert await bench.read(ctx, offset(name)) == value, name

    bench.run(testbench)


def test_reset_values(bench):  # I77
    async def testbench(ctx):
        for register in REGISTERS:
            value = await bench.read(ctx, register.offset)
            if register.name == "CONTROL":
                assert value == bits("IDLE", "READY")
            elif register.access != "r":
                assert value == 0, register.name

    bench.run(testbench)


def test_every_setting_is_its_own(bench):
    rng = random.Random(1)
    values = {register: rng.getrandbits(32) for register in SETTINGS}

    async def testbench(ctx):
        for register, value in values.items():
            await bench.write(ctx, register.offset, value)
        for register, value in values.items():
            assert await bench.read(ctx, register.offset) == value, register.name
        for register, value in values.items():
            field = register.name.lower()
            high = field.endswith("_high")
            port = ctx.get(getattr(bench.unit.settings, field.removesuffix("_low").removesuffix("_high")))
            assert port >> (32 if high else 0) & 0xFFFF_FFFF == value, field

    bench.run(testbench)


def test_every_status_is_shown(bench):
    rng = random.Random(2)

    async def testbench(ctx):
        values = {name: rng.getrandbits(field.width) for name, field in status_layout()}
        for name, value in values.items():
            ctx.set(getattr(bench.unit.status, name), value)
        for register in REGISTERS:
            field = register.name.lower()
            name = field.removesuffix("_low").removesuffix("_high")
            if name in values:
                await bench.write(ctx, register.offset, 0)
                expected = values[name] >> (32 if field.endswith("_high") else 0) & 0xFFFF_FFFF
                assert await bench.read(ctx, register.offset) == expected, register.name

    bench.run(testbench)


def test_strobes_write_single_bytes(bench):  # I85
    at = offset("PROGRAM_LENGTH")

    async def testbench(ctx):
        for strobes in range(16):
            await bench.write(ctx, at, 0x0403_0201)
            await bench.write(ctx, at, 0xF8F7_F6F5, strobes)
            expected = sum((0xF5 + i if strobes >> i & 1 else 1 + i) << 8 * i for i in range(4))
            assert await bench.read(ctx, at) == expected
        for strobes in (0, 2, 4, 8, 14):  # a command without its byte is none
            await bench.write(ctx, offset("CONTROL"), 0xFFFF_FFFF, strobes)
            await bench.write(ctx, offset("INTERRUPT_GLOBAL"), 0xFFFF_FFFF, strobes)
            await bench.write(ctx, offset("INTERRUPT_ENABLE"), 0xFFFF_FFFF, strobes)
        assert not bench.starts.seen and not bench.resets.seen
        assert await bench.read(ctx, offset("INTERRUPT_GLOBAL")) == 0
        assert await bench.read(ctx, offset("INTERRUPT_ENABLE")) == 0
        await bench.pulse(ctx, bench.unit.done)
        await bench.write(ctx, offset("INTERRUPT_STATUS"), 0xFFFF_FFFF, 14)
        assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == DONE

    bench.run(testbench)


def test_unmapped_words_read_zero_and_ignore_writes(bench):  # I85
    mapped = {register.offset for register in REGISTERS}
    unmapped = [at for at in range(0, PASS_LOG, 4) if at not in mapped]
    rng = random.Random(3)
    chosen = [at for at in unmapped if at < 0x200] + rng.sample(unmapped, 60) + [PASS_LOG - 4]

    async def testbench(ctx):
        for register in SETTINGS:
            await bench.write(ctx, register.offset, register.offset)
        for at in [*chosen, *range(PASS_LOG, APERTURE, 0x1FC)]:
            await bench.write(ctx, at, 0xFFFF_FFFF)
        for at in chosen:
            assert await bench.read(ctx, at) == 0, hex(at)
        for register in SETTINGS:
            assert await bench.read(ctx, register.offset) == register.offset, register.name
        assert not bench.starts.seen and not bench.resets.seen

    bench.run(testbench)


def test_low_address_bits_are_ignored(bench):  # I85
    at = offset("WATCHDOG")

    async def testbench(ctx):
        for low in range(4):
            await bench.write(ctx, at + low, 100 + low)
            for other in range(4):
                assert await bench.read(ctx, at + other) == 100 + low

    bench.run(testbench)


def test_the_log_is_a_window(bench):
    async def testbench(ctx):
        for index in (0, 1, 2, 255, 256, PASS_LOG_ENTRIES - 1):
            entry = Log.entry(index)
            assert await bench.read(ctx, PASS_LOG + 8 * index) == entry & 0xFFFF_FFFF
            assert await bench.read(ctx, PASS_LOG + 8 * index + 4) == entry >> 32 & 0xFFFF_FFFF

    bench.run(testbench)


@pytest.mark.parametrize("delays", [{"address_delay": 7}, {"data_delay": 7}, {"ready_delay": 1000},
                                    {"address_delay": 3, "data_delay": 1, "ready_delay": 2}])
def test_channels_in_any_order(bench, delays):  # I85
    async def testbench(ctx):
        for value in (5, 6, 7):
            await bench.write(ctx, offset("STOP_AFTER"), value, **delays)
            assert await bench.read(ctx, offset("STOP_AFTER"), ready_delay=delays.get("ready_delay", 0)) == value

    bench.run(testbench)


def test_start_and_what_becomes_of_the_run(bench):
    async def testbench(ctx):
        unit = bench.unit
        assert await bench.control(ctx) == bits("IDLE", "READY")
        await bench.write(ctx, offset("CONTROL"), bits("START"))
        assert len(bench.starts.seen) == 1
        ctx.set(unit.idle, 0)
        assert await bench.control(ctx) == 0
        for _ in range(2):  # I79
            await bench.write(ctx, offset("CONTROL"), bits("START"))
        ctx.set(unit.idle, 1)
        await bench.pulse(ctx, unit.done)
        assert len(bench.starts.seen) == 1
        for _ in range(2):  # reading changes nothing
            assert await bench.control(ctx) == bits("IDLE", "READY", "DONE")
        await bench.write(ctx, offset("CONTROL"), bits("START"))
        assert len(bench.starts.seen) == 2
        ctx.set(unit.idle, 0)
        assert await bench.control(ctx) == 0
        await bench.pulse(ctx, unit.error)
        assert await bench.control(ctx) == bits("ERROR")
        ctx.set(unit.idle, 1)
        assert await bench.control(ctx) == bits("ERROR", "IDLE", "READY")
        await bench.write(ctx, offset("CONTROL"), bits("RESET"))
        assert len(bench.resets.seen) == 1
        ctx.set(unit.idle, 0)
        assert await bench.control(ctx) == 0
        await bench.write(ctx, offset("CONTROL"), bits("START"))
        await bench.pulse(ctx, unit.reset_done)
        ctx.set(unit.idle, 1)
        assert await bench.control(ctx) == bits("RESET_DONE", "IDLE", "READY")
        assert len(bench.starts.seen) == 2
        await bench.write(ctx, offset("CONTROL"), bits("START", "RESET"))  # I80: RESET wins
        assert len(bench.starts.seen) == 2 and len(bench.resets.seen) == 2
        assert await bench.control(ctx) == bits("IDLE", "READY")
        await bench.write(ctx, offset("CONTROL"), 0xFFFF_FFFF ^ bits("START", "RESET"))
        assert await bench.control(ctx) == bits("IDLE", "READY")

    bench.run(testbench)


def test_a_second_start_right_behind_the_first(bench):  # I80: before the machine could say that it is busy
    async def testbench(ctx):
        bus = bench.unit.bus
        ctx.set(bus.aw.payload.addr, offset("CONTROL"))
        ctx.set(bus.w.payload, {"data": bits("START"), "strb": 15})
        for signal in (bus.aw.valid, bus.w.valid, bus.b.ready):
            ctx.set(signal, 1)
        for _ in range(40):
            await ctx.tick()
            if bench.starts.seen:
                ctx.set(bench.unit.idle, 0)
        assert len(bench.starts.seen) == 1

    bench.run(testbench)


def test_settings_are_locked_during_a_run(bench):  # C26
    async def testbench(ctx):
        for register in SETTINGS:
            await bench.write(ctx, register.offset, 0x1111_0000 | register.offset)
        ctx.set(bench.unit.idle, 0)
        for register in SETTINGS:
            await bench.write(ctx, register.offset, 0xFFFF_FFFF)
        for register in SETTINGS:
            assert await bench.read(ctx, register.offset) == 0x1111_0000 | register.offset
        await bench.write(ctx, offset("INTERRUPT_ENABLE"), 3)  # interrupts are not
        assert await bench.read(ctx, offset("INTERRUPT_ENABLE")) == 3
        ctx.set(bench.unit.idle, 1)
        await bench.write(ctx, offset("GATES_LOW"), 5)
        assert await bench.read(ctx, offset("GATES_LOW")) == 5

    bench.run(testbench)


@pytest.mark.parametrize("globally", [0, 1])
@pytest.mark.parametrize("enable", range(4))
def test_interrupts(bench, globally, enable):  # I83
    async def testbench(ctx):
        unit = bench.unit
        await bench.write(ctx, offset("INTERRUPT_GLOBAL"), globally)
        await bench.write(ctx, offset("INTERRUPT_ENABLE"), enable)
        for event, signal in ((DONE, unit.done), (ERROR, unit.error)):
            await bench.pulse(ctx, signal)
            assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == event
            expected = int(globally and bool(enable & event))
            for _ in range(10):
                assert ctx.get(unit.interrupt) == expected
                await ctx.tick()
            assert bool(await bench.control(ctx) & bits("INTERRUPT")) == expected
            await bench.write(ctx, offset("INTERRUPT_STATUS"), 3 ^ event)  # the other bit
            assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == event
            await bench.write(ctx, offset("INTERRUPT_STATUS"), event)
            assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == 0
            assert not ctx.get(unit.interrupt)

    bench.run(testbench)


@pytest.mark.parametrize("when", range(8))
def test_no_event_is_lost_to_a_write_that_clears(bench, when):  # I82: in every cycle around the write
    async def testbench(ctx):
        unit = bench.unit
        await bench.pulse(ctx, unit.done)
        ctx.set(unit.bus.aw.payload.addr, offset("INTERRUPT_STATUS"))
        ctx.set(unit.bus.w.payload, {"data": DONE, "strb": 15})
        ctx.set(unit.bus.b.ready, 1)
        cleared = None
        for cycle in range(12):
            ctx.set(unit.bus.aw.valid, int(cycle == 2))
            ctx.set(unit.bus.w.valid, int(cycle == 2))
            ctx.set(unit.done, int(cycle == when))
            await ctx.tick()
            if ctx.get(unit.bus.b.valid) and cleared is None:
                cleared = cycle  # the write took effect in this cycle
        assert cleared == 3
        assert await bench.read(ctx, offset("INTERRUPT_STATUS")) == (DONE if when >= cleared else 0)

    bench.run(testbench)


def test_no_response_is_lost_while_the_master_is_not_ready(bench):
    async def testbench(ctx):
        bus = bench.unit.bus
        ctx.set(bus.aw.payload.addr, offset("WATCHDOG"))
        ctx.set(bus.w.payload, {"data": 1, "strb": 15})
        taken = 0
        for _ in range(20):
            for signal in (bus.aw.valid, bus.w.valid):
                ctx.set(signal, int(taken < 2))
            _, _, valid, ready = await ctx.tick().sample(bus.aw.valid, bus.aw.ready)
            taken += valid and ready
        assert taken == 2
        ctx.set(bus.b.ready, 1)
        answers = 0
        for _ in range(20):
            _, _, valid = await ctx.tick().sample(bus.b.valid)
            answers += valid
        assert answers == 2

    bench.run(testbench)


def test_reads_and_writes_at_the_same_time(bench):  # I85, I86
    rng = random.Random(4)
    at = [register.offset for register in SETTINGS]

    async def testbench(ctx):
        bus = bench.unit.bus
        reads = []
        ctx.set(bus.r.ready, 1)
        ctx.set(bus.ar.valid, 1)
        for index, address in enumerate(at):
            ctx.set(bus.ar.payload.addr, rng.choice(at))
            await bench.write(ctx, address, index)
            reads.append(ctx.get(bus.ar.ready))
        ctx.set(bus.ar.valid, 0)
        await ctx.tick().repeat(8)
        for index, address in enumerate(at):
            assert await bench.read(ctx, address) == index
        assert any(reads)

    bench.run(testbench)
