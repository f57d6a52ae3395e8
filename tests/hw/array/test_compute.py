# SPDX-License-Identifier: Apache-2.0
"""The compute unit against numpy: random schedules of tiles and rows, cycle for cycle."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from moevit.golden.integer.rounding import round_shift
from moevit.hw.array.accumulator import Accumulator
from moevit.hw.array.compute import Compute
from moevit.hw.layouts import Accumulate
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import Probe
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import DIGIT_BITS, OPERAND_BITS

from ...configs import TEST_CONFIGS

VARIANTS = [(packed, dsp48e1) for packed in (False, True) for dsp48e1 in (False, True)]


@dataclass
class Schedule:
    """What enters in each cycle, and what must leave: {cycle: sums}."""

    config: object
    load: dict = field(default_factory=dict)
    row: dict = field(default_factory=dict)
    expected: dict = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        return max([*self.load, *self.row]) + 1

    def tile(self, start: int, tile: np.ndarray, by_row: bool, gap=lambda: 0, whole=lambda: False) -> int:
        """Load a (k_lanes, n_lanes) tile from cycle ``start`` on; returns the first cycle in which it may be used.

        ``whole`` says whether the next group of beats of a tile by columns comes together.
        """
        k_lanes, ratio, tile_beats = self.config.k_lanes, self.config.ratio, self.config.tile_beats
        beats = [tile[index] if by_row else tile[:, index * ratio:(index + 1) * ratio].T.ravel()
                 for index in range(k_lanes)]
        index = 0
        while index < k_lanes:
            together = not by_row and index % tile_beats == 0 and whole()
            count = tile_beats if together else 1
            parts = beats[index:index + count] if together else tile_beats * [beats[index]]
            self.load[start] = (by_row, together, index, np.concatenate(parts))
            index += count
            start += 1 + gap()
        return max(self.load) + 1


def packed_int(values: np.ndarray, bits: int) -> int:
    """OperandLanes as one integer, lane 0 lowest."""
    return sum((int(value) & ((1 << bits) - 1)) << (bits * lane) for lane, value in enumerate(values))


def simulate(config, schedule: Schedule, latency: int | None = None) -> dict[int, np.ndarray]:
    """The sums that leave, by the cycle in which their row entered."""
    unit = Compute(config)
    assert latency in (None, unit.latency)
    sums = Probe(unit.sums.payload, when=unit.sums.valid)

    def step(ctx, cycle):
        beat, row = schedule.load.get(cycle), schedule.row.get(cycle)
        ctx.set(unit.load.valid, beat is not None)
        if beat is not None:
            ctx.set(unit.load.payload.by_row, beat[0])
            ctx.set(unit.load.payload.whole, beat[1])
            ctx.set(unit.load.payload.index, beat[2])
            ctx.set(unit.load.payload.data.as_value(), packed_int(beat[3], 8))
        ctx.set(unit.row.valid, row is not None)
        # A row that is not valid carries noise, which must not matter.
        ctx.set(unit.row.payload.swap, row is None or row[0])
        ctx.set(unit.row.payload.last, row is None or row[4])
        if row is not None:
            ctx.set(unit.row.payload.operands.as_value(), packed_int(row[1], OPERAND_BITS))
            ctx.set(unit.row.payload.address, row[2])
            ctx.set(unit.row.payload.operation, row[3])

    StreamBench(unit, background=[sums.run]).play(step, schedule.cycles + unit.latency + 1)
    return {cycle - unit.latency: np.array(value) for cycle, value in zip(sums.cycles, sums.values, strict=True)}


def extremes(rng, size, bound: int) -> np.ndarray:
    """Half random, half the largest magnitudes."""
    return np.where(rng.random(size) < 0.5, rng.choice([-bound, bound], size), rng.integers(-bound, bound + 1, size))


def random_schedule(config, seed: int, tiles: int, busy: float) -> Schedule:
    """Tiles in both directions, alone and in groups, each loaded while the rows of the one before stream; gaps unless
    ``busy`` is 1.

    The last sweep takes out every sum.
    """
    rng = np.random.default_rng(seed)
    schedule = Schedule(config)
    gap = lambda: 0 if rng.random() < busy else int(rng.integers(1, 4))  # noqa: E731
    whole = lambda: bool(rng.random() < 0.7)  # noqa: E731
    sums = np.zeros((config.max_tokens, config.n_lanes), np.int64)
    written = 0
    loaded = schedule.tile(0, tile := extremes(rng, (config.k_lanes, config.n_lanes), 127), False, gap, whole)
    cycle = 0
    for index in range(tiles):
        active, final = tile, index == tiles - 1
        cycle = max(cycle, loaded) + gap()
        rows = written if final else int(rng.choice([1, 2, config.k_lanes, config.max_tokens]))
        next_load = cycle + 1 + gap()
        tile = extremes(rng, tile.shape, 127)
        loaded = schedule.tile(next_load, tile, bool(rng.integers(2)), gap, whole)
        for address in range(rows):
            # Only what an earlier tile stored may be added to; SHIFT_ADD is for the third sweep of a gate.
            added = Accumulate(int(rng.integers(config.gate_sweeps - final)) + final)
            operation = added if address < written else Accumulate.SET
            last = final or (bool(rng.random() < 0.3) and address < written)
            operands = extremes(rng, config.k_lanes, 255)
            schedule.row[cycle] = (address == 0, operands, address, operation, last)
            old = {Accumulate.SET: 0, Accumulate.ADD: sums[address],
                   Accumulate.SHIFT_ADD: round_shift(sums[address], DIGIT_BITS)}[operation]
            total = old + operands @ active
            if last:
                schedule.expected[cycle] = total
            else:
                sums[address] = total
            cycle += 1 + gap()
        written = max(written, rows)
    return schedule


def check(seen: dict, expected: dict) -> None:
    assert sorted(seen) == sorted(expected)
    for cycle, sums in expected.items():
        np.testing.assert_array_equal(seen[cycle], sums, f"row of cycle {cycle}")


@pytest.mark.parametrize("name", ["8x8", "8x16", "16x16_four"])
@pytest.mark.parametrize(("packed", "dsp48e1"), VARIANTS)
@pytest.mark.parametrize(("seed", "busy"), [(1, 1.0), (2, 0.5)])
def test_random_schedules(name, packed, dsp48e1, seed, busy):
    print(f"seed {seed}")
    config = replace(TEST_CONFIGS[name], packed=packed, dsp48e1=dsp48e1, max_tokens=32)
    schedule = random_schedule(config, seed, tiles=12, busy=busy)
    assert len(schedule.expected) > 10
    check(simulate(config, schedule), schedule.expected)


@pytest.mark.parametrize(("name", "dsp48e1", "latency"), [
    ("8x8", False, 11), ("8x16", False, 11), ("8x8", True, 10), ("16x16", False, 12), ("16x16", True, 11),
])
@pytest.mark.parametrize("packed", [False, True])
def test_latency(name, dsp48e1, latency, packed):
    """Stated, and measured: `simulate` would see the sums in another cycle."""
    config = replace(CONFIGS[name], packed=packed, dsp48e1=dsp48e1)
    schedule = Schedule(config)
    tile = np.ones((config.k_lanes, config.n_lanes), np.int64)
    start = schedule.tile(0, tile, False)
    schedule.row[start] = (True, np.arange(config.k_lanes), 0, Accumulate.SET, True)
    expected = np.full(config.n_lanes, np.arange(config.k_lanes).sum())
    check(simulate(config, schedule, latency), {start: expected})


@pytest.mark.parametrize("name", ["8x8", "8x16"])
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_matrix_product(name, by_row, packed):
    """Several k-tiles, several rows, nothing idle: rows @ weights."""
    print("seed 3")
    rng = np.random.default_rng(3)
    config = replace(CONFIGS[name], packed=packed)
    k_tiles, rows = 4, 9
    operands = extremes(rng, (rows, k_tiles * config.k_lanes), 255)
    weights = extremes(rng, (k_tiles * config.k_lanes, config.n_lanes), 127)
    schedule = Schedule(config)
    loaded = schedule.tile(0, weights[:config.k_lanes], by_row)
    cycle, product = 0, operands @ weights
    for k in range(k_tiles):
        part = slice(k * config.k_lanes, (k + 1) * config.k_lanes)
        start = max(loaded, cycle)
        if k + 1 < k_tiles:
            loaded = schedule.tile(start + 1, weights[part.stop:part.stop + config.k_lanes], by_row)
        for row in range(rows):
            cycle = start + row
            schedule.row[cycle] = (row == 0, operands[row, part], row, Accumulate.ADD if k else Accumulate.SET,
                                   k == k_tiles - 1)
            if k == k_tiles - 1:
                schedule.expected[cycle] = product[row]
        cycle += 1
    assert cycle == config.k_lanes + k_tiles * rows  # a row in every cycle
    check(simulate(config, schedule), schedule.expected)


@pytest.mark.parametrize("config", [*(TEST_CONFIGS[name] for name in ("8x8", "8x16", "16x16_four")),
                                    replace(CONFIGS["32x32"], tile_beats=8)],
                         ids=["8x8", "8x16", "16x16_four", "32x32_eight"])
@pytest.mark.parametrize("packed", [False, True])
def test_sums_come_back_as_soon_as_tiles_can(config, packed):
    """One row and tiles in groups: an address of the accumulator every k_lanes / tile_beats + 1 cycles, the closest
    there is."""
    print("seed 6")
    rng = np.random.default_rng(6)
    config = replace(config, packed=packed)
    k_tiles, period = 6, config.k_lanes // config.tile_beats + 1
    assert period == Accumulator.REUSE
    operands = extremes(rng, k_tiles * config.k_lanes, 255)
    weights = extremes(rng, (k_tiles * config.k_lanes, config.n_lanes), 127)
    schedule = Schedule(config)
    for k in range(k_tiles):
        part = slice(k * config.k_lanes, (k + 1) * config.k_lanes)
        start = schedule.tile(k * period, weights[part], False, whole=lambda: True)
        assert start == (k + 1) * period - 1
        schedule.row[start] = (True, operands[part], 0, Accumulate.ADD if k else Accumulate.SET, k == k_tiles - 1)
    schedule.expected[start] = operands @ weights
    check(simulate(config, schedule), schedule.expected)


@pytest.mark.parametrize("packed", [False, True])
def test_padded_lanes_never_reach_an_accumulator(packed):
    """Zero operands silence any weights, also -128, which is no weight; columns beyond the last disturb no other."""
    print("seed 4")
    rng = np.random.default_rng(4)
    config = replace(CONFIGS["8x8"], packed=packed)
    lanes, columns = 5, 5
    schedule = Schedule(config)
    tile = rng.choice([-128, -127, 127], (config.k_lanes, config.n_lanes))
    tile[:lanes, :columns] = rng.choice([-127, 127], (lanes, columns))
    start = schedule.tile(0, tile, False)
    for row in range(16):
        operands = np.zeros(config.k_lanes, np.int64)
        operands[:lanes] = rng.choice([-255, 255], lanes)
        schedule.row[start + row] = (row == 0, operands, row, Accumulate.SET, True)
        schedule.expected[start + row] = (operands[:lanes] @ tile[:lanes])[:columns]
    seen = {cycle: sums[:columns] for cycle, sums in simulate(config, schedule).items()}
    check(seen, schedule.expected)


@pytest.mark.parametrize("name", ["8x16", "16x16_four"])
@pytest.mark.parametrize("whole", [False, True])
def test_columns_in_any_order(name, whole):
    print("seed 5")
    rng = np.random.default_rng(5)
    config = TEST_CONFIGS[name]
    schedule = Schedule(config)
    tile = extremes(rng, (config.k_lanes, config.n_lanes), 127)
    start = schedule.tile(0, tile, False, whole=lambda: whole)
    order = rng.permutation(start)
    schedule.load = {cycle: schedule.load[order[cycle]] for cycle in range(start)}
    assert start == (config.k_lanes // config.tile_beats if whole else config.k_lanes)
    operands = extremes(rng, config.k_lanes, 255)
    schedule.row[start] = (True, operands, 0, Accumulate.SET, True)
    check(simulate(config, schedule), {start: operands @ tile})
