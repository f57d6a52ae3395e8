# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.control.watchdog import Watchdog
from moevit.sim.bench.stream_bench import StreamBench


def fired(limit, cycles):
    """Cycles in which a watchdog with ``limit`` fires, given (running, progress) cycle by cycle."""
    running, progress = zip((0, 0), *cycles, strict=True)  # a first cycle, in which the limit is taken over
    bench = StreamBench(Watchdog(), settings={"limit": limit})
    expired = bench.words({"running": running, "progress": progress}, ["expired"], 0)["expired"]
    return [cycle for cycle, fires in enumerate(expired[1:]) if fires]


def expected(limit, cycles):
    """The same, by counting."""
    seen, idle = [], 0
    for cycle, (running, progress) in enumerate(cycles):
        idle = idle + 1 if running and not progress else 0
        if limit and idle == limit:
            seen.append(cycle)
    return seen


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 40])
def test_a_standstill(limit):
    cycles = [(0, 0)] * 5 + [(1, 0)] * 60 + [(1, 1)] + [(1, 0)] * 60 + [(0, 0)] * 5
    assert fired(limit, cycles) == expected(limit, cycles)
    assert len(expected(limit, cycles)) == (2 if limit else 0)


def test_progress_just_in_time():
    cycles = ([(1, 0)] * 9 + [(1, 1)]) * 10
    assert fired(10, cycles) == []
    assert len(fired(9, cycles)) == 10


@pytest.mark.parametrize("seed", range(4))
def test_any_run(seed):
    rng = random.Random(seed)
    cycles = [(int(rng.random() < 0.95), int(rng.random() < 0.3)) for _ in range(400)]
    assert fired(3, cycles) == expected(3, cycles)
