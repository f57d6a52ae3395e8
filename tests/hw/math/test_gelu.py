# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.golden.integer.gelu import gelu
from moevit.hw.math.gelu import Gelu
from moevit.spec.isa import Activation

LANES = 64


def run(words, activations):
    unit, out = Gelu(words.shape[1]), []

    async def bench(ctx):
        for cycle in range(len(words) + unit.latency):
            if cycle < len(words):
                ctx.set(unit.i, [int(x) for x in words[cycle]])
                ctx.set(unit.activation, int(activations[cycle]))
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
    assert np.array_equal(run(x, np.full(len(x), Activation.GELU)), gelu(x))
    assert np.array_equal(run(x, np.full(len(x), Activation.RELU)), np.maximum(x, 0))


def test_the_activation_goes_with_its_word():
    x = np.arange(-6000, 6000, 5).reshape(-1, 8)
    chosen = np.arange(len(x)) % 3
    functions = {Activation.NONE: x, Activation.GELU: gelu(x), Activation.RELU: np.maximum(x, 0)}
    expected = [functions[Activation(which)][row] for row, which in enumerate(chosen)]
    assert np.array_equal(run(x, chosen), expected)


def test_extremes_pass_without_activation():
    x = np.array([[-32768, 32767, -1, 0, 1]])
    assert np.array_equal(run(x, [0]), x)


def test_lanes_refused(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Gelu(0)
