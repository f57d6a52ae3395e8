# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.bus.bursts import BURST_BEATS, BurstSplitter
from moevit.spec.registers import ErrorCode

TOP = 1 << 40


def expected(address, beats, size):
    """Bursts of a command: at most 16 beats, never across a multiple of 16 beats."""
    bursts = []
    while beats:
        length = min(beats, BURST_BEATS - address // size % BURST_BEATS)
        bursts.append((address, length))
        address += length * size
        beats -= length
    return bursts


def split(kit, size, commands, *, stall=0.0, base=0, limit=(1 << 64) - 1, **options):
    """Bursts and refusals of ``commands``, and the cycles of the bursts."""
    unit = BurstSplitter(size, ErrorCode.READ_WINDOW, **options)
    source = kit.Source(unit.command, [{"address": a, "beats": b} for a, b in commands], stall=stall)
    sink = kit.Sink(unit.burst, seed=1, stall=stall)
    refused = kit.Pulses(unit.refused.valid, unit.refused.payload.code, unit.refused.payload.address)

    async def testbench(ctx):
        ctx.set(unit.base, base)
        ctx.set(unit.limit, limit)
        await kit.until(ctx, lambda: not source.items, 100_000)
        await ctx.tick().repeat(4)
        await kit.until(ctx, lambda: ctx.get(unit.idle), 1000)
        await ctx.tick().repeat(4)

    kit.simulate(unit, testbench, source, sink, refused)
    return [(burst.address, burst.length + 1) for burst in sink.items], [r[1:] for r in refused.seen], sink.cycles


@pytest.mark.parametrize("size", [8, 64])
def test_every_offset_and_length(kit, size):
    page = 4096
    commands = [(page + offset * size, beats) for offset in range(-17, 2) for beats in range(BURST_BEATS * 2 + 3)]
    bursts, refused, _ = split(kit, size, commands)
    assert bursts == [burst for command in commands for burst in expected(*command, size)]
    assert not refused
    for address, length in bursts:
        assert address // page == (address + length * size - 1) // page


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("seed", range(3))
def test_any_command(kit, size, seed):
    rng = random.Random(seed)
    commands = [(rng.randrange(TOP // size - 200) * size, rng.randrange(200)) for _ in range(40)]
    bursts, refused, _ = split(kit, size, commands, stall=rng.choice([0, 0.3, 0.7]))
    assert bursts == [burst for command in commands for burst in expected(*command, size)]
    assert not refused


def test_rate_and_latency(kit):
    _, _, cycles = split(kit, 8, [(0, 16 * 20)])
    taken = 1  # the source shows the command in cycle 1
    first, step = taken + BurstSplitter.latency, BurstSplitter.cycles_per_burst
    assert cycles == list(range(first, first + 20 * step, step))


@pytest.mark.parametrize("seed", range(3))
def test_the_window(kit, seed):
    rng = random.Random(seed)
    base, limit = 0x10_0000, 0x10_0400
    commands = [(base + 4 * rng.randrange(-64, 320), rng.randrange(8)) for _ in range(200)]
    bursts, refused, _ = split(kit, 8, commands, base=base, limit=limit)
    inside = [(a, b) for a, b in commands if a % 8 == 0 and base <= a and a + 8 * b <= limit]
    assert bursts == [burst for command in inside for burst in expected(*command, 8)]
    assert refused == [(ErrorCode.ALIGNMENT if a % 8 else ErrorCode.READ_WINDOW, a)
                       for a, b in commands if (a, b) not in inside]
    assert len(inside) > 20 < len(refused)


@pytest.mark.parametrize(("base", "limit", "command", "inside"), [
    (0, (1 << 64) - 1, (TOP - 16, 2), True),
    (0, (1 << 64) - 1, (TOP - 16, 3), False),
    (0, TOP, (TOP - 16, 3), False),
    (0, (1 << 64) - 1, (0, 1 << 23), True),
    (1 << 40, (1 << 64) - 1, (64, 1), False),
    (1 << 63, (1 << 64) - 1, (64, 1), False),
    (0, 1 << 63, (TOP - 8, 1), True),
])
def test_the_ends_of_the_address_space(kit, base, limit, command, inside):
    unit = BurstSplitter(8, ErrorCode.READ_WINDOW)
    refused = kit.Pulses(unit.refused.valid)

    async def testbench(ctx):
        ctx.set(unit.base, base)
        ctx.set(unit.limit, limit)
        ctx.set(unit.command.payload, {"address": command[0], "beats": command[1]})
        ctx.set(unit.command.valid, 1)
        await ctx.tick()
        ctx.set(unit.command.valid, 0)
        await ctx.tick().repeat(8)
        assert ctx.get(unit.burst.valid) == inside

    kit.simulate(unit, testbench, refused)
    assert len(refused.seen) == (not inside)


def test_the_longest_command_is_not_cut(kit):
    beats = (1 << 25) - 1
    limit = 0x1000 + beats * 8
    bursts, refused, _ = split(kit, 8, [(0x1000, beats)], limit=limit - 1, beats_bits=25)
    assert not bursts and refused == [(ErrorCode.READ_WINDOW, 0x1000)]


@pytest.mark.parametrize("size", [0, 3, 512])
def test_arguments_are_checked(unused_allowed, size):
    with pytest.raises(ValueError, match=f"power of two up to 256, not {size}"):
        BurstSplitter(size, ErrorCode.READ_WINDOW)
