# SPDX-License-Identifier: Apache-2.0
"""The program memory, filled beat by beat."""

import random

import pytest

from moevit.hw.control.program import Program
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import INSTRUCTION_BYTES

from ...configs import TEST_CONFIGS


@pytest.mark.parametrize("name", ["8x8", "16x16"])
def test_instructions_are_what_came(name):
    """Instructions, and `latency`: when an instruction counts as complete, and when a read gives it."""
    config = TEST_CONFIGS[name]
    program, rng = Program(config), random.Random(1)
    parts = INSTRUCTION_BYTES // config.beat_bytes
    beats = [rng.getrandbits(8 * config.beat_bytes) for _ in range(5 * parts)]

    async def bench(ctx):
        ctx.set(program.beats.valid, 1)
        await ctx.tick()
        assert not ctx.get(program.beats.ready) and not ctx.get(program.filled)
        ctx.set(program.fill, 1)
        for index, beat in enumerate(beats):
            ctx.set(program.beats.payload, beat)
            assert ctx.get(program.beats.ready) and ctx.get(program.filled) == index // parts
            await ctx.tick().repeat(Program.latency)
        ctx.set(program.beats.valid, 0)
        assert ctx.get(program.filled) == 5
        ctx.set(program.read.enable, 1)
        for place in (4, 0, 3):
            ctx.set(program.read.address, place)
            await ctx.tick().repeat(Program.latency)
            expected = sum(beat << 8 * config.beat_bytes * index
                           for index, beat in enumerate(beats[place * parts:(place + 1) * parts]))
            assert ctx.get(program.read.data.as_value()) == expected

    StreamBench(program).simulate(bench)
