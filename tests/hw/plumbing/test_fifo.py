# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.plumbing.fifo import ReservedFifo
from moevit.sim.bench.stream_bench import StreamBench

SEED = 51


@pytest.mark.parametrize("depth", [2, 8, 10])
@pytest.mark.parametrize("leaving", [0.2, 0.5, 1.0])
def test_random_items(depth, leaving):
    print(f"seed {SEED}")
    random, unit, inside = np.random.default_rng(SEED), ReservedFifo(16, depth), []

    def step(ctx, cycle):
        assert ctx.get(unit.o.valid) == bool(inside)
        leaves, comes = bool(random.random() < leaving), len(inside) < depth and bool(random.random() < 0.7)
        ctx.set(unit.o.ready, leaves)
        ctx.set(unit.i.valid, comes)
        ctx.set(unit.i.payload, cycle)
        if inside and leaves:
            assert ctx.get(unit.o.payload) == inside.pop(0)
        if comes:
            inside.append(cycle)

    StreamBench(unit).play(step, 300)


def test_latency():
    assert StreamBench(ReservedFifo(16, 8)).latency({"i": [1, 2, 3]}, "o") == ReservedFifo.latency


def test_depth_refused(unused_allowed):
    with pytest.raises(ValueError, match="at least 2"):
        ReservedFifo(8, 1)
