# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.golden.integer.gelu import gelu
from moevit.hw.math.gelu import Gelu

LANES = 64


def run(words, enables):
    unit, out = Gelu(words.shape[1]), []

    async def bench(ctx):
        for cycle in range(len(words) + unit.latency):
            if cycle < len(words):
                ctx.set(unit.i, [int(x) for x in words[cycle]])
                ctx.set(unit.enable, int(enables[cycle]))
            if cycle >= unit.latency:
                out.append(list(ctx.get(unit.o)))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(out)


def test_every_value():
    x = np.arange(-32768, 32768).reshape(-1, LANES)
    assert np.array_equal(run(x, np.ones(len(x))), gelu(x))


def test_enable_goes_with_its_word():
    x = np.arange(-6000, 6000, 5).reshape(-1, 8)
    enable = np.arange(len(x)) % 3 == 0
    assert np.array_equal(run(x, enable), np.where(enable[:, None], gelu(x), x))


def test_extremes_pass_without_enable():
    x = np.array([[-32768, 32767, -1, 0, 1]])
    assert np.array_equal(run(x, [0]), x)


def test_lanes_refused(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Gelu(0)
