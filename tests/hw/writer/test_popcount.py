# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.writer.popcount import PopCount


def run(width, words):
    unit, out = PopCount(width), []

    async def bench(ctx):
        for cycle in range(len(words) + unit.latency):
            if cycle < len(words):
                ctx.set(unit.i, words[cycle])
            if cycle >= unit.latency:
                out.append(ctx.get(unit.o))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return out


def test_every_byte():
    assert run(8, list(range(256))) == [word.bit_count() for word in range(256)]


def test_wide():
    random = np.random.default_rng(1)
    words = [0, (1 << 64) - 1, *(int(word) for word in random.integers(0, 1 << 63, 50, dtype=np.uint64))]
    assert run(64, words) == [word.bit_count() for word in words]


@pytest.mark.parametrize("width", [1, 12])
def test_width_refused(width, unused_allowed):
    with pytest.raises(ValueError, match=str(width)):
        PopCount(width)
