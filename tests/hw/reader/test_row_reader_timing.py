# SPDX-License-Identifier: Apache-2.0
"""When the row reader does what: start rule, waits, rates, latencies, the words of a STORE."""

import numpy as np
import pytest

from moevit.hw.layouts import Activity
from moevit.hw.reader.row_reader import RowReader
from moevit.spec.isa import Opcode, RowSource

NAMES = ["8x8", "8x16"]
#: Words that a NORM takes in a cycle; `latency_means` and `latency_norm`.
NORMS = {"8x8": (1, 12, 25), "8x16_pairs": (2, 12, 26), "8x16": (3, 12, 26)}


def array_pass(rows=20, k_tiles=2, n_tiles=2, **fields):
    return {"opcode": Opcode.PASS, "source": RowSource.HIDDEN, "source_base": 3, "source_stride": 3, "k_tiles": k_tiles,
            "rows": rows, "n_tiles": n_tiles, "overlap": 15, **fields}


def norm(rows, k_tiles, **fields):
    return {"opcode": Opcode.NORM, "source_base": 5, "source_stride": k_tiles, "k_tiles": k_tiles, "rows": rows,
            "dim": 8 * k_tiles, "inverse_dim": 2**21 // k_tiles, "epsilon": 1, "overlap": 15, **fields}


def store(rows=7, k_tiles=3, **fields):
    return {"opcode": Opcode.STORE, "source_base": 9, "source_stride": 4, "rows": rows, "k_tiles": k_tiles,
            "region_offset": 0x1234, **fields}


def count(seen, activity):
    return seen.activities.count(activity)


def test_latency_and_full_rate(world):
    place = world("8x8", 20)
    instruction = array_pass()
    seen = place.run([instruction])
    assert seen.row_cycles[0] - seen.dispatched[0] == RowReader.latency
    assert np.all(np.diff(seen.row_cycles) == 1)
    lasts = [cycle for cycle, row in zip(seen.row_cycles, seen.rows, strict=True) if row[4]]
    assert [tag - row for tag, row in zip(seen.tag_cycles, lasts, strict=True)] == [place.reader.latency_tag] * 40


def test_no_gap_between_passes(world):
    place = world("8x8", 21)
    program = [array_pass(rows) for rows in (12, 9, 20)]
    seen = place.run(program)
    place.check(seen, [place.expect_pass(instruction) for instruction in program])
    assert np.all(np.diff(seen.row_cycles) == 1)


def test_small_sweeps_cost_a_tile_each(world):
    place = world("8x8", 22)
    seen = place.run([array_pass(rows=1, k_tiles=3)])
    assert set(np.diff(seen.row_cycles)) == {place.config.k_lanes + 1}


@pytest.mark.parametrize("name", NAMES)
def test_tiles_at_random(world, name):
    place = world(name, 23)
    place.tile_delay = lambda random: random.integers(0, 60)
    place.writer_delay = lambda random: random.integers(5, 30)
    program = [array_pass(int(place.random.integers(1, 33)), int(place.random.integers(1, 4))) for _ in range(6)]
    seen = place.run(program)
    place.check(seen, [place.expect_pass(instruction) for instruction in program])
    assert count(seen, Activity.WAIT_WEIGHTS) > 0
    assert count(seen, Activity.BUSY) == len(seen.rows)


@pytest.mark.parametrize("name", NAMES)
def test_writer_full(world, name):
    place = world(name, 24)
    place.writer_delay = lambda random: 300
    instruction = array_pass(rows=32, k_tiles=1, n_tiles=6)
    seen = place.run([instruction])
    place.check(seen, [place.expect_pass(instruction)])
    assert seen.most_under_way == place.config.sums_depth
    assert count(seen, Activity.WAIT_WRITER) > 100


@pytest.mark.parametrize("overlap, first", [(0, 0), (1, 0xFFFE)])
def test_start_rule(world, overlap, first):
    place = world("8x8", 25)
    place.writer_delay = lambda random: 40
    program = [array_pass(), array_pass(), array_pass(), array_pass(overlap=overlap)]
    seen = place.run(program, first_sequence=first)
    place.check(seen, [place.expect_pass(instruction) for instruction in program])
    start = seen.row_cycles[3 * len(seen.rows) // 4]
    # The finished count is up one cycle after the pass; then the pipeline fills.
    assert start - seen.finished_cycles[2 - overlap] >= RowReader.latency + 1
    if not overlap:
        assert start - seen.finished_cycles[2] == RowReader.latency + 1
        assert count(seen, Activity.WAIT_DRAIN) >= 40


def test_other_instructions_are_dropped(world):
    place = world("8x8", 26)
    program = [{"opcode": Opcode.LOAD, "rows": 3}, array_pass(), {"opcode": Opcode.IMAGE, "rows": 1}, array_pass()]
    seen = place.run(program)
    place.check(seen, [place.expect_pass(program[index]) for index in (1, 3)])
    assert np.diff(seen.row_cycles).max() == 2  # the cycle in which IMAGE is dropped


def test_nothing_to_do(world):
    place = world("8x8", 27)
    seen = place.run([{"opcode": Opcode.LOAD, "rows": 3}])
    assert set(seen.activities) == {Activity.WAIT_PROGRAM}


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_store(world, stall):
    place = world("8x8", 28)
    place.store_stall = lambda random: random.random() < stall
    instruction = store()
    seen = place.run([instruction, array_pass(overlap=15)])
    assert seen.commands == [(0x1234, 21)]
    assert np.array_equal(np.reshape(seen.words, (7, -1)), place.words(instruction, range(7)))
    if not stall:
        assert np.all(np.diff(seen.word_cycles) == 1)


def test_store_waits_for_its_start(world):
    place = world("8x8", 29)
    seen = place.run([array_pass(), store()])
    assert seen.word_cycles[0] > seen.finished_cycles[0] > seen.row_cycles[-1]


@pytest.mark.parametrize("rows, k_tiles", [(32, 3), (1, 1), (1, 8), (9, 1), (3, 4)])
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("summed", [0, 1])
def test_norm_cycles(world, name, rows, k_tiles, summed):
    place = world(name, 30)
    gain = place.random.integers(-500, 500, 8 * k_tiles)
    seen = place.run([norm(rows, k_tiles, summed=summed)], [gain])
    reader, (norm_words, *latencies) = place.reader, NORMS[name]
    assert [reader.latency_means, reader.latency_norm] == latencies
    cycles = place.config.word_beats * k_tiles + rows * -(-k_tiles // norm_words) + reader.latency_norm
    if not summed:
        cycles += rows * k_tiles + reader.latency_means
    assert seen.done_cycles[0] - seen.dispatched[0] == cycles
    assert len(seen.norms) == rows


@pytest.mark.parametrize("summed", [0, 1])
@pytest.mark.parametrize("name, k_tiles, base", [
    ("8x8", 3, 100), *[(name, k_tiles, base) for name in ("8x16_pairs", "8x16") for k_tiles, base in (
        (3, 100), (4, 100), (4, 101))], ("8x16", 5, 102), ("8x16", 7, 103)])
def test_norm_copies(world, name, k_tiles, base, summed):
    place = world(name, 31)
    instruction = norm(6, k_tiles, copy=1, destination_base=base, summed=summed)
    gain = place.random.integers(-500, 500, 8 * k_tiles)
    records = place.apply_norm(instruction, gain)
    seen = place.run([instruction], [gain])
    assert len(seen.norms) == len(records)
    assert {base + word: list(place.residual[5 + word]) for word in range(6 * k_tiles)} == seen.copies


def test_norm_does_not_copy(world):
    place = world("8x8", 32)
    seen = place.run([norm(6, 3)], [np.arange(24)])
    assert seen.copies == {}
    assert count(seen, Activity.WAIT_NORM) > 2 * 18


def test_norm_behind_its_gain(world):
    """A NORM waits for its predecessors, and for a gain that comes in pieces; rows of those before it go on."""
    place = world("8x8", 33)
    place.gain_stall = lambda random: random.random() < 0.8
    first, second = norm(5, 1), norm(4, 3, overlap=0)
    gains = [place.random.integers(-500, 500, 8), place.random.integers(-500, 500, 24)]
    place.apply_norm(first, gains[0])
    normal = array_pass(operand=2, source=RowSource.RESIDUAL, source_base=5, source_stride=1, k_tiles=1, rows=5,
                        overlap=0)
    expected = place.expect_pass(normal)
    records = place.apply_norm(second, gains[1])
    seen = place.run([first, normal, second], gains)
    place.check(seen, [expected])
    assert len(seen.norms) == 5 + len(records)
    assert seen.norms[5][1] == records[0][1]
    assert count(seen, Activity.WAIT_DRAIN) > 0
