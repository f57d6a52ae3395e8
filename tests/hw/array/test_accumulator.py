# SPDX-License-Identifier: Apache-2.0
"""The accumulator against golden rounding, at the ends of its range and at the closest reuse of an address."""

from dataclasses import replace

import numpy as np
from amaranth.sim import Simulator

from moevit.golden.integer.rounding import round_shift
from moevit.hw.array.accumulator import Accumulator
from moevit.hw.interfaces import Accumulate
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import ACCUMULATOR_BITS, DIGIT_BITS

CONFIG = replace(CONFIGS["8x8"], max_tokens=8)
DOT_MAX = CONFIG.k_lanes * 255 * 127


def accumulate(rows: list[tuple | None]) -> list[list[int]]:
    """The sums that leave; rows of (address, operation, last, dots), one per cycle, None for a gap."""
    dut = Accumulator(CONFIG)
    seen = []

    async def bench(ctx):
        for cycle in range(len(rows) + dut.LEAD + dut.latency + 1):
            row = rows[cycle] if cycle < len(rows) else None
            ctx.set(dut.ahead.valid, row is not None)
            if row is not None:
                ctx.set(dut.ahead.payload, {"address": row[0], "operation": row[1], "last": row[2]})
            late = cycle - dut.LEAD
            if 0 <= late < len(rows) and rows[late] is not None:
                ctx.set(dut.dots, [int(dot) for dot in rows[late][3]])
            due = late - dut.latency
            leaves = 0 <= due < len(rows) and rows[due] is not None and rows[due][2]
            assert ctx.get(dut.sums.valid) == leaves, f"cycle {cycle}"
            if leaves:
                seen.append([ctx.get(dut.sums.payload[lane]) for lane in range(CONFIG.n_lanes)])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
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
    rows = [(step % Accumulator.REUSE, Accumulate.ADD if step >= Accumulator.REUSE else Accumulate.SET,
             step >= 3 * Accumulator.REUSE, lanes(step, -step)) for step in range(4 * Accumulator.REUSE)]
    expected = [list(sum(lanes(step, -step) for step in range(address, 4 * Accumulator.REUSE, Accumulator.REUSE)))
                for address in range(Accumulator.REUSE)]
    assert accumulate(rows) == expected


def test_ends_of_the_range():
    """Up to the largest sum that 2072 products can make, and down to the smallest."""
    steps = 2072 // CONFIG.k_lanes
    assert steps * DOT_MAX < 1 << (ACCUMULATOR_BITS - 1)
    rows = []
    for step in range(steps):
        rows += [(0, Accumulate.ADD if step else Accumulate.SET, step == steps - 1, lanes(DOT_MAX, -DOT_MAX)),
                 *[None] * (Accumulator.REUSE - 1)]
    assert accumulate(rows) == [list(steps * lanes(DOT_MAX, -DOT_MAX))]


def test_last_sums_are_not_stored():
    rows = [(1, Accumulate.SET, False, lanes(5)), *[None] * 7, (1, Accumulate.ADD, True, lanes(7)), *[None] * 7,
            (1, Accumulate.ADD, True, lanes(100))]
    assert accumulate(rows) == [list(lanes(12)), list(lanes(105))]
