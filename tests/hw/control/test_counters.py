# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.control.counters import Counters, counters_layout
from moevit.hw.layouts import Activity
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import COUNTERS

NAMES = [name.lower() for name, _ in COUNTERS]
IDLE = {"running": 0, "activity": Activity.WAIT_PROGRAM, "row": 0, "beat_read": 0, "beat_written": 0, "saturated": 0}


def play(config, cycles):
    """Drive ``cycles`` after a clear; returns the counters `latency` cycles after the last, and ten later."""
    played = [{**IDLE, "clear": 1}, *({**cycle, "clear": 0} for cycle in cycles), *[{**IDLE, "clear": 0}] * 10]
    inputs = {name: [cycle[name] for cycle in played] for name in played[0]}
    found = StreamBench(Counters(CONFIGS[config])).words(inputs, ["counters"], Counters.latency)["counters"]
    return found[len(cycles)], found[-1]


def some_cycle(rng, running, lanes):
    return {"running": running, "activity": rng.choice(list(Activity)), "row": rng.randrange(2),
            "beat_read": rng.randrange(2), "beat_written": rng.randrange(2), "saturated": rng.randrange(lanes + 1)}


@pytest.mark.parametrize("config", ["8x8", "8x16"])
@pytest.mark.parametrize("seed", range(3))
def test_every_event_of_the_run_is_counted_once(config, seed):
    rng = random.Random(seed)
    machine = CONFIGS[config]
    run = [some_cycle(rng, 1, machine.k_lanes) for _ in range(200)]
    before = [some_cycle(rng, 0, machine.k_lanes) for _ in range(10)]
    after = [some_cycle(rng, 0, machine.k_lanes) for _ in range(10)]
    values, later = play(config, [*before, *run, *after])

    def count(name):
        return sum(cycle[name] for cycle in run)

    expected = {
        "cycles": len(run), "macs": count("row") * machine.k_lanes * machine.n_lanes,
        "bytes_read": count("beat_read") * machine.n_lanes, "bytes_written": count("beat_written") * machine.n_lanes,
        "saturated": count("saturated"),
        **{a.name.lower(): sum(cycle["activity"] == a for cycle in run) for a in Activity},
    }
    assert values == expected
    assert later == values
    waits = [name for name in NAMES if name.startswith("wait_")]
    assert values["busy"] + sum(values[name] for name in waits) == values["cycles"]


def test_an_event_in_the_last_cycle_is_counted():
    last = {**IDLE, "running": 1, "row": 1, "beat_read": 1, "saturated": 8, "activity": Activity.BUSY}
    values, _ = play("8x8", [last])
    before, _ = play("8x8", [])
    assert not any(before.values())
    expected = {"cycles": 1, "macs": 64, "bytes_read": 8, "saturated": 8, "busy": 1}
    assert values == dict.fromkeys(NAMES, 0) | expected


def test_the_layout_is_the_register_map():
    assert [name for name, _ in counters_layout()] == NAMES
    assert all(field.width == 64 for _, field in counters_layout())


def test_activities_are_the_counters_that_share_out_the_run():
    assert {a.name for a in Activity} == {name for name, _ in COUNTERS if name == "BUSY" or name.startswith("WAIT")}
