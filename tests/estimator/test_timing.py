# SPDX-License-Identifier: Apache-2.0
"""The performance model on programs that are worked out by hand, from the docstrings of the units.

That it meets the RTL on whole networks is in ``tests/ladder/test_timing.py``.
"""

from dataclasses import replace

import pytest

from moevit.compiler.steps import Payload, Step
from moevit.estimator.latency import latencies
from moevit.estimator.prefetch import MemoryTiming, PrefetchTiming
from moevit.estimator.timing import frame_timing
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Destination, Opcode, Region, WeightSource
from moevit.spec.parts import Part

CONFIG = CONFIGS["16x16"]
TILE = CONFIG.k_lanes  # beats
MEMORY = MemoryTiming()
END = Step("end", Part.END, {"opcode": Opcode.END})


def array_pass(rows, k_tiles=1, n_tiles=1, name="pass", **fields):
    beats = n_tiles * k_tiles * TILE
    usual = {"opcode": Opcode.PASS, "rows": rows, "k_tiles": k_tiles, "n_tiles": n_tiles, "constant": 1,
             "region": Region.WEIGHTS, "columns": n_tiles * CONFIG.n_lanes, "destination": Destination.HIDDEN}
    return Step(name, Part.FC1, {**usual, **fields}, Payload(beats * CONFIG.bus_bytes, bytes))


def norm(rows, k_tiles, **fields):
    usual = {"opcode": Opcode.NORM, "rows": rows, "k_tiles": k_tiles, "region": Region.WEIGHTS}
    return Step("norm", Part.NORM1, {**usual, **fields}, Payload(k_tiles * CONFIG.word_beats * CONFIG.bus_bytes, bytes))


def cycles(*steps, memory=MEMORY, loads=()):
    return frame_timing([*steps, END], CONFIG, memory, loads).cycles


def test_few_rows_cost_a_tile_each():
    """The shadow tile is free in the cycle after the swap; ``tile_beats`` a cycle where the FIFO has them, or one."""
    long = array_pass(400, name="while which the FIFO fills")
    for config in (CONFIG, replace(CONFIG, tile_beats=4)):
        fewer, more = (frame_timing([long, array_pass(1, n_tiles=n, overlap=1), END], config, MEMORY).cycles
                       for n in (4, 12))
        assert more - fewer == 8 * (TILE / config.tile_beats + 1)
    memory = replace(CONFIG, name="memory")
    kept = {"weights": WeightSource.KEYS, "overlap": 1, "region": Region.NONE}
    steps = (Step("keys", Part.LOGIT, {**array_pass(1, n_tiles=n).fields, **kept}) for n in (4, 12))
    fewer, more = (frame_timing([step, END], memory, MEMORY).cycles for step in steps)
    assert more - fewer == 8 * (TILE + 1)
    assert cycles(array_pass(1, n_tiles=32)) - cycles(array_pass(1, n_tiles=24)) == 8 * TILE  # as fast as they come


def test_many_rows_cost_a_cycle_each():
    assert cycles(array_pass(100, n_tiles=12)) - cycles(array_pass(100, n_tiles=4)) == 8 * 100


def test_rows_of_two_words_wait_for_the_row_writer():
    """Their sums come one a cycle and leave at half that: for good with one k-tile, until the next n-tile with two."""
    wide, rows, n_tiles = CONFIGS["32x64"], 1000, 8

    def waits(k_tiles, config=wide):
        kept = {"weights": WeightSource.KEYS, "region": Region.NONE, "columns": n_tiles * config.n_lanes}
        step = Step("keys", Part.LOGIT, {**array_pass(rows, k_tiles, n_tiles).fields, **kept})
        return frame_timing([step, END], config, MEMORY).stalls["WAIT_WRITER"]

    # The last row enters when the one that many before it has left: two cycles for each of those, one for each row.
    left = n_tiles * rows - wide.sums_depth
    assert waits(1) == latencies(wide).compute + 2 * left + latencies(wide).room - (n_tiles * rows - 1)
    assert waits(2) == 0
    assert waits(1, CONFIGS["64x64"]) == 0  # a word a row


def test_a_slow_memory_costs_its_beats():
    slow = MemoryTiming(bandwidth=0.25)
    fewer, more = (cycles(array_pass(1, n_tiles=n), memory=slow) for n in (4, 12))
    assert more - fewer == 8 * TILE / 0.25


def test_the_prefetch_hides_what_fits_it():
    """Tiles that arrive while the pass before is in the array are there at once."""
    first = array_pass(2000, name="long", weights=WeightSource.BUS)
    slow = MemoryTiming(bandwidth=0.25)
    alone, both = cycles(first, memory=slow), cycles(first, array_pass(1, n_tiles=8, overlap=1), memory=slow)
    assert both - alone < 9 * (TILE / 2 + 1) < 8 * TILE / 0.25


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_dependent_pass_waits_for_the_end(overlap):
    latency = latencies(CONFIG)
    first, second = frame_timing([array_pass(50), array_pass(50, overlap=overlap), END], CONFIG, MEMORY).passes
    last_row = first.start + 49
    assert first.end == last_row + latency.compute + latency.writer_done
    if overlap:
        assert second.start == last_row + 1
    else:
        assert second.start == first.end + latency.reader + 1


def test_norm_reads_every_row_twice():
    assert cycles(norm(60, 4)) - cycles(norm(20, 4)) == 2 * 40 * 4


def test_idle_experts_cost_a_cycle_and_no_bytes():
    gate = array_pass(32, destination=Destination.ROUTER, top_k=2)
    experts = Step("experts", Part.EXPERTS, {"opcode": Opcode.EXPERTS, "body": 1})
    body = array_pass(0, name="expert", overlap=1)
    some, more = (frame_timing([gate, experts, body, END], CONFIG, MEMORY, [loads])
                  for loads in ([8, 8], [8, 0, 0, 0, 8]))
    assert more.cycles - some.cycles == 3
    assert more.beats == some.beats
    assert [(each.name, each.expert, each.rows) for each in more.passes[1:]] == [("expert", 0, 8), ("expert", 4, 8)]


def test_experts_are_fetched_while_the_router_works():
    """Speculation hides latency and bytes. The bytes of an idle expert are thrown away."""
    slow = MemoryTiming(bandwidth=0.25)
    before = array_pass(600, name="attention")
    gate = array_pass(32, destination=Destination.ROUTER, top_k=2)
    body = array_pass(0, n_tiles=3, name="expert", overlap=1)

    def frame(speculate, loads):
        experts = Step("experts", Part.EXPERTS, {"opcode": Opcode.EXPERTS, "body": 1, "speculate": speculate})
        return frame_timing([before, gate, experts, body, END], CONFIG, slow, [loads])

    late, early = frame(0, [8, 8]), frame(2, [8, 8])
    assert early.beats == late.beats
    fetched = 2 * 3 * TILE / 0.25
    assert fetched / 2 < late.cycles - early.cycles <= fetched + MEMORY.read_latency + 30
    vain = frame(2, [0, 8])
    assert vain.beats == late.beats
    assert [each.expert for each in vain.passes[2:]] == [1]


def test_speculation_ends_when_the_router_has_decided():
    gate = array_pass(1, destination=Destination.ROUTER, top_k=2)
    experts = Step("experts", Part.EXPERTS, {"opcode": Opcode.EXPERTS, "body": 1, "speculate": 29})
    body = array_pass(0, name="expert")
    idle = [0] * 29 + [8]
    frame = frame_timing([gate, experts, body, END], CONFIG, MEMORY, [idle])
    needed = 4 * 64 // CONFIG.bus_bytes + 2 * TILE  # program, gate, the expert with tokens
    asked = (frame.beats - needed) / TILE
    assert 2 <= asked <= (frame.passes[0].end - frame.passes[0].start + 200) / 20  # a request about every 20 cycles
    assert asked < 29


def test_the_router_takes_top_k_cycles_a_token():
    def end(top_k, rows):
        gate = array_pass(rows, destination=Destination.ROUTER, top_k=top_k)
        return frame_timing([gate, END], CONFIG, MEMORY).passes[0].end

    assert end(4, 100) - end(4, 60) == 4 * 40


def test_cycles_are_shared_out():
    timing = frame_timing([norm(30, 2), array_pass(40, 2, 3), array_pass(5, 2, 3), END], CONFIG, MEMORY)
    assert sum(timing.stalls.values()) == timing.cycles
    assert timing.stalls["BUSY"] == 40 * 6 + 5 * 6
    assert timing.stalls["WAIT_NORM"] >= 2 * 30 * 2


def test_the_fifo_is_as_deep_as_it_says():
    config = replace(CONFIG, prefetch_beats=64)
    stream = PrefetchTiming(config, MemoryTiming(read_latency=10))
    stream.ask(0, 96)
    first = stream.arrival(16)
    assert [stream.arrival(16) for _ in range(3)] == [first + 16, first + 32, first + 48]  # a beat a cycle
    assert stream.accepts == float("inf")
    stream.take(16, 1000)
    stream.take(16, 2000)
    assert stream.arrival(16) > 1000 + 10  # the room of what left first
    assert stream.arrival(16) > 2000 + 10
