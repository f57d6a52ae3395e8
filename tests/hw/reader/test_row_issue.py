# SPDX-License-Identifier: Apache-2.0
from collections import deque

import numpy as np
import pytest

from moevit.hw.layouts import Accumulate
from moevit.hw.reader.row_issue import DEPTH, RowIssue
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

SEED = 46
PIPELINE = 14


def sweeps(count, rows, words):
    """``count`` groups of ``words`` sweeps of ``rows`` rows; operands number the rows."""
    return [{"operands": [index % 256] * 8, "address": row, "operation": Accumulate.ADD if word else Accumulate.SET,
             "swap": row == 0, "last": word == words - 1, "exp": 0}
            for index, (_, word, row) in enumerate(np.ndindex(count, words, rows))]


class Bench:
    """Feeds rows through a pipeline that cannot wait."""

    def __init__(self, name, rows):
        self.unit, self.source = RowIssue(CONFIGS[name]), deque(rows)
        self.pipeline, self.entries = deque([None] * PIPELINE), 0
        self.seen, self.cycles, self.waits = [], [], {"wait_tile": 0, "wait_writer": 0, "filling": 0}

    def feed(self, ctx, tile_ready, released):
        unit, row = self.unit, self.pipeline.popleft()
        ctx.set(unit.pending.valid, row is not None)
        ctx.set(unit.entry.valid, bool(row and row["last"]))
        if row:
            ctx.set(unit.pending.payload, row)
        if row and row["last"]:
            ctx.set(unit.entry.payload, {"row": self.entries % 4096})
            self.entries += 1
        start = bool(self.source) and bool(ctx.get(unit.room))
        ctx.set(unit.started, start)
        self.pipeline.append(self.source.popleft() if start else None)
        ctx.set(unit.tile_ready, tile_ready)
        ctx.set(unit.released, released)
        for name in self.waits:
            self.waits[name] += ctx.get(getattr(unit, name))

    def look(self, ctx, cycle):
        """Returns the row that enters in this cycle, if any."""
        unit = self.unit
        assert ctx.get(unit.tile_taken) == (ctx.get(unit.row.valid) and ctx.get(unit.row.payload.swap))
        if not ctx.get(unit.row.valid):
            return None
        row, issued = ctx.get(unit.row.payload), ctx.get(unit.issued.payload)
        assert issued.first == (Accumulate(row.operation) == Accumulate.SET)
        assert list(issued.operands) == list(row.operands)
        if row.last:
            assert issued.entry.row == len([row for row in self.seen if row["last"]]) % 4096
        self.seen.append({"operands": list(row.operands), "address": row.address, "swap": row.swap, "last": row.last,
                          "operation": Accumulate(row.operation), "exp": issued.exp})
        self.cycles.append(cycle)
        return row


def test_full_rate():
    rows = sweeps(2, 20, 3)
    bench, last = Bench("8x8", rows), deque()

    def step(ctx, cycle):
        bench.feed(ctx, True, bool(last) and last[0] + 10 == cycle)
        if last and last[0] + 10 == cycle:
            last.popleft()
        row = bench.look(ctx, cycle)
        if row is not None and row.last:
            last.append(cycle)

    StreamBench(bench.unit).play(step, len(rows) + PIPELINE + 20)
    assert bench.seen == rows
    first = PIPELINE + bench.unit.latency
    assert bench.cycles == list(range(first, first + len(rows)))
    assert bench.waits == {"wait_tile": 0, "wait_writer": 0, "filling": PIPELINE}


def test_no_tile():
    bench = Bench("8x8", sweeps(1, 32, 4))
    StreamBench(bench.unit).play(lambda ctx, cycle: (bench.feed(ctx, False, False), bench.look(ctx, cycle)), 100)
    assert bench.seen == []
    assert len(bench.source) == 4 * 32 - DEPTH
    assert bench.waits["wait_tile"] == 100 - PIPELINE - 1


@pytest.mark.parametrize("name", ["8x8", "8x16"])
def test_no_release(name):
    bench = Bench(name, sweeps(8, 32, 1))
    StreamBench(bench.unit).play(lambda ctx, cycle: (bench.feed(ctx, True, False), bench.look(ctx, cycle)), 200)
    assert len(bench.seen) == CONFIGS[name].sums_depth
    assert bench.waits["wait_writer"] > 0


@pytest.mark.parametrize("rows, words", [(1, 1), (5, 2), (32, 1)])
def test_random_tiles_and_releases(rows, words):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    bench, under_way, most = Bench("8x8", sweeps(6, rows, words)), 0, 0
    expected = sweeps(6, rows, words)
    ready = 0

    def step(ctx, cycle):
        nonlocal under_way, most, ready
        released = under_way > 0 and bool(random.random() < 0.3)
        bench.feed(ctx, cycle >= ready, released)
        row = bench.look(ctx, cycle)
        if row is not None and row.swap:
            assert cycle >= ready
            ready = cycle + 9 + int(random.integers(0, 20))
        under_way += (row is not None and row.last) - released
        most = max(most, under_way)

    StreamBench(bench.unit).play(step, 1500)
    assert bench.seen == expected
    assert most <= CONFIGS["8x8"].sums_depth
