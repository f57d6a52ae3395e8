# SPDX-License-Identifier: Apache-2.0
from itertools import product

import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.router.rank import Rank

LOW, HIGH = -(1 << 23), (1 << 23) - 1


def run(logits):
    unit, out = Rank(logits.shape[1]), []

    async def bench(ctx):
        for cycle in range(len(logits) + unit.latency):
            if cycle < len(logits):
                ctx.set(unit.logits, logits[cycle].tolist())
            if cycle >= unit.latency:
                out.append(list(ctx.get(unit.ranks)))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(out)


def expected(logits):
    order = np.argsort(-logits, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def test_every_order_of_four_with_ties():
    logits = np.array(list(product([LOW, -1, 0, HIGH], repeat=4)))
    assert np.array_equal(run(logits), expected(logits))


@pytest.mark.parametrize("count", [1, 7, 32])
def test_random(count):
    random = np.random.default_rng(count)
    logits = random.integers(LOW, HIGH + 1, (100, count))
    logits[50:] >>= 20
    assert np.array_equal(run(logits), expected(logits))


def test_count_refused(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Rank(0)
