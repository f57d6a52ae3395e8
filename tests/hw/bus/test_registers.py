# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.bus.registers import Registers, settings_layout, status_layout
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import (
    APERTURE,
    COUNTERS,
    MAGIC,
    PASS_LOG,
    PASS_LOG_ENTRIES,
    REGISTERS,
    VERSION,
    offset,
)

from .registers_bench import DONE, SETTINGS, Bench, Log, bits


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


def test_reset_values(bench):
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


def test_strobes_write_single_bytes(bench):
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


def test_unmapped_words_read_zero_and_ignore_writes(bench):
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


def test_low_address_bits_are_ignored(bench):
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
def test_channels_in_any_order(bench, delays):
    async def testbench(ctx):
        for value in (5, 6, 7):
            await bench.write(ctx, offset("STOP_AFTER"), value, **delays)
            assert await bench.read(ctx, offset("STOP_AFTER"), ready_delay=delays.get("ready_delay", 0)) == value

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


def test_reads_and_writes_at_the_same_time(bench):
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
