# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.plumbing.credit import Credit
from moevit.sim.bench.stream_bench import StreamBench

SEED = 50


@pytest.mark.parametrize("limit", [2, 3, 8, 32])
@pytest.mark.parametrize("giving", [0.1, 0.5, 0.9])
def test_random_events(limit, giving):
    print(f"seed {SEED}")
    random, unit, under_way, most = np.random.default_rng(SEED), Credit(limit), [0], 0

    def step(ctx, cycle):
        nonlocal most
        assert ctx.get(unit.idle) == (under_way[-1] == 0)
        give = under_way[-1] > 0 and bool(random.random() < giving)
        room = bool(ctx.get(unit.room))
        assert room == (under_way[-1] + sum(gives[1 - unit.latency:]) < limit)  # without the newest gives
        take = room and bool(random.random() < 0.8)
        ctx.set(unit.take, take)
        ctx.set(unit.give, give)
        gives.append(give)
        under_way.append(under_way[-1] + take - give)
        most = max(most, under_way[-1])

    gives = []
    StreamBench(unit).play(step, 400)
    assert most == limit if giving < 0.5 else most <= limit


def test_limit_refused(unused_allowed):
    with pytest.raises(ValueError, match="at least 2"):
        Credit(1)
