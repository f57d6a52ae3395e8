# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from moevit.hw.control.error_latch import ErrorLatch
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.registers import ErrorCode

NONE = {"code": 0, "pc": 0, "address": 0}


def play(sources, cycles):
    """``cycles``: (clear, {source: report}) each. Returns (error, failed, raised) `latency` cycles after each."""
    inputs = {"clear": [clear for clear, _ in cycles]}
    for index in range(sources):
        inputs[f"source_{index}.valid"] = [int(index in reports) for _, reports in cycles]
        inputs[f"source_{index}.payload"] = [reports.get(index, {"code": 9, "pc": 9, "address": 9})
                                             for _, reports in cycles]
    outputs = ["error", "failed", "raised"]
    found = StreamBench(ErrorLatch(sources)).words(inputs, outputs, ErrorLatch.latency)
    return list(zip(*(found[name] for name in outputs), strict=True))


def report(index, pc=0):
    return {"code": int(ErrorCode(index % 12 + 1)), "pc": pc, "address": 0xFF_0000_0000 + 8 * index}


def test_the_first_stays_until_cleared():
    first, second = report(3, 4095), report(7, 1)
    seen = play(2, [(0, {}), (0, {1: first}), (0, {0: second}), (0, {}), (1, {}), (0, {0: second}), (1, {1: first}),
                    (0, {})])
    assert seen == [(NONE, 0, 0), (first, 1, 1), (first, 1, 0), (first, 1, 0), (NONE, 0, 0), (second, 1, 1),
                    (NONE, 0, 0), (NONE, 0, 0)]


@pytest.mark.parametrize("mask", range(1, 16))
def test_precedence_of_simultaneous_errors(mask):
    reports = {index: report(index) for index in range(4) if mask >> index & 1}
    assert play(4, [(0, reports)]) == [(reports[min(reports)], 1, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence(seed):
    rng = random.Random(seed)
    cycles = [(int(rng.random() < 0.1), {i: report(rng.randrange(12), rng.randrange(4096)) for i in range(3)
                                         if rng.random() < 0.1}) for _ in range(300)]
    expected, error = [], NONE
    for clear, reports in cycles:
        raised = 0
        if clear:
            error = NONE
        elif error is NONE and reports:
            error, raised = reports[min(reports)], 1
        expected.append((error, int(error is not NONE), raised))
    assert play(3, cycles) == expected


def test_every_code_fits():
    for code in ErrorCode:
        if code:
            wanted = {"code": int(code), "pc": 1, "address": 2}
            assert play(1, [(0, {0: wanted})])[0][0] == wanted


def test_arguments_are_checked(unused_allowed):
    with pytest.raises(ValueError, match="at least one source, not 0"):
        ErrorLatch(0)
