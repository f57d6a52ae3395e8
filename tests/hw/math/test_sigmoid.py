# SPDX-License-Identifier: Apache-2.0
import numpy as np
from amaranth.sim import Simulator

from moevit.golden.integer.sigmoid import log2_sigmoid, sigmoid
from moevit.hw.math.sigmoid import Sigmoid


def run(values):
    unit, out = Sigmoid(), []

    async def bench(ctx):
        for cycle in range(len(values) + unit.latency):
            if cycle < len(values):
                ctx.set(unit.i, int(values[cycle]))
            if cycle >= unit.latency:
                out.append((ctx.get(unit.log2), ctx.get(unit.share)))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(out).T


def test_every_step_of_the_tables_and_both_ends():
    """Each 2^-12 up to where the tables end, of either sign, and what lies beyond."""
    seed = 3
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    near = np.arange(-(17 << 12), 17 << 12, 3) * 16 + random.integers(0, 16, -(-(34 << 12) // 3))
    far = np.concatenate([random.integers(-(1 << 23), 1 << 23, 1000), [-(1 << 23), (1 << 23) - 1, 0, -1, 1]])
    values = np.concatenate([near, far, np.arange(-1100, 1100)])
    log2, share = run(values)
    assert np.array_equal(log2, log2_sigmoid(values))
    assert np.array_equal(share, sigmoid(values))
