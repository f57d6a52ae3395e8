# SPDX-License-Identifier: Apache-2.0
"""The accumulator against golden rounding, at the ends of its range and at the closest reuse of an address."""

from dataclasses import replace

import numpy as np

from moevit.golden.integer.rounding import round_shift
from moevit.hw.array.accumulator import Accumulator
from moevit.hw.layouts import Accumulate
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import ACCUMULATOR_BITS, DIGIT_BITS

CONFIG = replace(CONFIGS["8x8"], max_tokens=8)
DOT_MAX = CONFIG.k_lanes * 255 * 127


def accumulate(rows: list[tuple | None]) -> list[list[int]]:
    """The sums that leave; rows of (address, operation, last, dots), one per cycle, None for a gap."""
    unit, seen = Accumulator(CONFIG), []

    def row_of(cycle):
        return rows[cycle] if 0 <= cycle < len(rows) else None

    def step(ctx, cycle):
        row, dots, due = (row_of(cycle - late) for late in (0, unit.LEAD, unit.LEAD + unit.latency))
        ctx.set(unit.ahead.valid, row is not None)
        if row:
            ctx.set(unit.ahead.payload, {"address": row[0], "operation": row[1], "last": row[2]})
        if dots:
            ctx.set(unit.dots, [int(dot) for dot in dots[3]])
        assert ctx.get(unit.sums.valid) == bool(due and due[2]), f"cycle {cycle}"
        if due and due[2]:
            seen.append(list(ctx.get(unit.sums.payload)))

    StreamBench(unit).play(step, len(rows) + unit.LEAD + unit.latency + 1)
    return seen


def lanes(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.int64), CONFIG.n_lanes)


def test_rounding_of_the_shifted_sum():
    """Every residue modulo 128 of either sign, and what rounds up into the next digit."""
    values = np.arange(-160, 160)
    rows, expected = [], []
    for start in range(0, len(values), CONFIG.n_lanes):
        address = start // CONFIG.n_lanes % 8
        old, dots = values[start:start + CONFIG.n_lanes], lanes(0, 1, -1, 1000)
        rows += [(address, Accumulate.SET, False, old), *[None] * (Accumulator.REUSE - 1),
                 (address, Accumulate.SHIFT_ADD, True, dots)]
        expected.append(list(round_shift(old, DIGIT_BITS) + dots))
    assert accumulate(rows) == expected


def test_closest_reuse_of_an_address():
    """REUSE cycles after it was written, a sum is read as written."""
    rows = [(index % Accumulator.REUSE, Accumulate.ADD if index >= Accumulator.REUSE else Accumulate.SET,
             index >= 3 * Accumulator.REUSE, lanes(index, -index)) for index in range(4 * Accumulator.REUSE)]
    expected = [list(sum(lanes(index, -index) for index in range(address, 4 * Accumulator.REUSE, Accumulator.REUSE)))
                for address in range(Accumulator.REUSE)]
    assert accumulate(rows) == expected


def test_ends_of_the_range():
    """Up to the largest sum that 2072 products can make, and down to the smallest."""
    tiles = 2072 // CONFIG.k_lanes
    assert tiles * DOT_MAX < 1 << (ACCUMULATOR_BITS - 1)
    rows = []
    for index in range(tiles):
        rows += [(0, Accumulate.ADD if index else Accumulate.SET, index == tiles - 1, lanes(DOT_MAX, -DOT_MAX)),
                 *[None] * (Accumulator.REUSE - 1)]
    assert accumulate(rows) == [list(tiles * lanes(DOT_MAX, -DOT_MAX))]


def test_last_sums_are_not_stored():
    rows = [(1, Accumulate.SET, False, lanes(5)), *[None] * 7, (1, Accumulate.ADD, True, lanes(7)), *[None] * 7,
            (1, Accumulate.ADD, True, lanes(100))]
    assert accumulate(rows) == [list(lanes(12)), list(lanes(105))]
