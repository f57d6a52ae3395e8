# SPDX-License-Identifier: Apache-2.0
"""The row writer's surroundings: memories, sums and tags that come at random, a router that pauses at random."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest

from moevit.hw.writer.gate_logits import ROUTING_FIELDS
from moevit.hw.writer.row_writer import RowWriter
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import MemoryModel, Probe
from moevit.spec.trace import TraceKind

from .golden_writer import GoldenWriter

LIMIT = 20_000  # cycles after which a test has hung


@dataclass
class Seen:
    """What came out. stores: (cycle, kind, address, data); trace: (kind, sequence, address, data); logits: (logits,
    first, last, experts, how to route, sequence); stored: (sequence, row) in each cycle; saturated: values in each
    cycle; peaks and sums: read at the end, by entry and row."""

    stores: list = field(default_factory=list)
    trace: list = field(default_factory=list)
    logits: list = field(default_factory=list)
    done_cycles: list = field(default_factory=list)
    sum_cycles: list = field(default_factory=list)
    peaks: dict = field(default_factory=dict)
    sums: dict = field(default_factory=dict)
    saturated: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    released: int = 0


class World(GoldenWriter):
    """Random memories of a configuration; ``run`` lets the row writer execute jobs over them and checks all it left.

    ``gap`` is the probability of a pause, per cycle, in each of: dispatch, columns, sums, tags; ``router_gap`` of the
    router.
    """

    def __init__(self, name="8x8", seed=0, gap=0.0):
        print(f"configuration {name}, seed {seed}, gap {gap}")
        super().__init__(name, seed)
        self.gap = self.router_gap = gap

    def run(self, jobs, interrupted=None):
        """Simulates, compares with the golden functions, and returns what was seen.

        ``interrupted``: jobs that are under way when the machine is reset, before ``jobs`` come."""
        self.unit = unit = RowWriter(self.config)
        self.seen, self.cycle = Seen(), 0
        kv = self.kv.reshape(self.config.kv_words, -1)
        before = self.residual.copy(), self.hidden.copy(), kv.copy()
        self.memories = {
            TraceKind.RESIDUAL: MemoryModel(self.residual.copy(), reads=[unit.residual_read], writes=[unit.residual]),
            TraceKind.HIDDEN: MemoryModel(self.hidden.copy(), writes=[unit.hidden]),
            TraceKind.KV: MemoryModel(kv.copy(), writes=[unit.kv])}
        self.trace, self.done = Probe(unit.trace.payload, when=unit.trace.valid), Probe(when=unit.done)
        self.stored, self.saturated = Probe(unit.stored), Probe(unit.saturated)
        self.logits = Probe(unit.logits.payload, unit.sequence, when=unit.logits.valid & unit.logits.ready)
        observers = (*self.memories.values(), self.trace, self.done, self.stored, self.saturated, self.logits)
        bench, sums = StreamBench(unit, background=[each.run for each in observers]), self.sums.copy()
        expected = self.expect(jobs)

        async def testbench(ctx):
            if interrupted:
                await self._interrupt(ctx, interrupted, bench.reset)
            for row, total in enumerate(sums):
                ctx.set(unit.summed.valid, 1)
                ctx.set(unit.summed.payload, {"row": row, "total": int(total)})
                await self._tick(ctx)
            ctx.set(unit.summed.valid, 0)
            if interrupted:
                for memory, words in zip(self.memories.values(), before, strict=True):
                    memory.words[:] = words
                for observer in observers:
                    observer.forget()
            self.start = self.cycle
            await self._feed(ctx, jobs, len(expected[2]), len(expected[1]))
            await self._read(ctx, jobs)

        bench.simulate(testbench)
        self._collect()
        self._compare(jobs, *expected)
        return self.seen

    async def _tick(self, ctx):
        await ctx.tick()
        self.cycle += 1

    # What goes in.

    def _columns(self, jobs):
        n_lanes = self.config.n_lanes
        for job in jobs:
            if job.is_pass and not job.instruction.get("constant"):
                words = (job.column_scale | (job.bias & 0xFFFF) << 16).astype("<u4")
                for beat in words.view(np.uint8).reshape(-1, n_lanes):
                    yield int.from_bytes(beat.tobytes(), "little")

    def _rows(self, jobs):
        """(sums, tag) per row and n-tile."""
        n_lanes = self.config.n_lanes
        for job in jobs:
            if not job.is_pass:
                continue
            for tile in range(job.instruction["n_tiles"]):
                for index, row in enumerate(job.row):
                    sums = job.accumulator[index, tile * n_lanes:][:n_lanes]
                    yield [int(value) for value in sums], {
                        "row": int(row), "score": int(job.score[index]),
                        "scale": {"mantissa": int(job.scale.mantissa[index]),
                                  "exponent": int(job.scale.exponent[index])}}

    def _dispatch(self, jobs):
        for sequence, job in enumerate(jobs):
            yield {"instruction": job.instruction, "sequence": sequence, "expert": 0}

    async def _feed(self, ctx, jobs, dones, tokens):
        """Sends all that ``jobs`` take, at random, until as many passes are done and tokens routed."""
        unit, random = self.unit, self.random
        rows = list(self._rows(jobs))
        queues = [(unit.dispatch, deque(self._dispatch(jobs))), (unit.columns, deque(self._columns(jobs)))]
        flows = [(unit.sums, deque(row for row, _ in rows)), (unit.tag, deque(tag for _, tag in rows))]
        under_way, offered = [0, 0], [False, False]
        while len(self.done.cycles) < dones or len(self.logits.cycles) < tokens:
            assert self.cycle - self.start < LIMIT, f"hung with {len(self.done.cycles)} of {dones} passes done"
            for index, (port, queue) in enumerate(queues):
                if not offered[index] and queue and random.random() >= self.gap:
                    offered[index] = True
                    ctx.set(port.payload, queue[0])
                ctx.set(port.valid, offered[index])
            for index, (port, queue) in enumerate(flows):
                valid = bool(queue) and under_way[index] < self.config.sums_depth and random.random() >= self.gap
                ctx.set(port.valid, valid)
                if valid:
                    ctx.set(port.payload, queue.popleft())
                    under_way[index] += 1
                    if index == 0:
                        self.seen.sum_cycles.append(self.cycle)
            ctx.set(unit.logits.ready, random.random() >= self.router_gap)
            # All inputs of this cycle are set: look at the outputs.
            for index, (port, queue) in enumerate(queues):
                if offered[index] and ctx.get(port.ready):
                    queue.popleft()
                    offered[index] = False
            if ctx.get(unit.released):
                under_way = [count - 1 for count in under_way]
                self.seen.released += 1
            await self._tick(ctx)

    async def _read(self, ctx, jobs):
        """Reads every peak and sum, the last written first: in the cycle after the last ``done`` all must be there."""
        unit = self.unit
        written = [(job, row) for job in reversed(jobs) if job.is_pass
                   for row in reversed(self.rows_written(job).tolist())]
        entries = [job.instruction.get("destination_peak", 0) + row for job, row in written]
        rows = list(dict.fromkeys(row % len(self.sums) for _, row in written))
        ctx.set(unit.peaks.enable, 1)
        ctx.set(unit.row_sums.enable, 1)
        for index, entry in enumerate(dict.fromkeys([*entries, 0, *range(len(self.peaks))])):
            row = rows[index] if index < len(rows) else index % len(self.sums)
            ctx.set(unit.peaks.address, entry)
            ctx.set(unit.row_sums.address, row)
            await self._tick(ctx)
            self.seen.peaks[entry] = ctx.get(unit.peaks.data)
            self.seen.sums[row] = ctx.get(unit.row_sums.data)

    async def _interrupt(self, ctx, jobs, reset):
        """Offers all of ``jobs`` for some cycles, then resets."""
        unit = self.unit
        queues = [(unit.dispatch, self._dispatch(jobs)), (unit.columns, self._columns(jobs)),
                  (unit.sums, (row for row, _ in self._rows(jobs))), (unit.tag, (tag for _, tag in self._rows(jobs)))]
        for port, queue in queues:
            ctx.set(port.payload, next(queue))
            ctx.set(port.valid, 1)
        for _ in range(self.config.sums_depth // 2):
            taken = [port in (unit.sums, unit.tag) or ctx.get(port.ready) for port, _ in queues]
            await self._tick(ctx)
            for (port, queue), move in zip(queues, taken, strict=True):
                if move:
                    ctx.set(port.payload, next(queue))
        for port, _ in queues:
            ctx.set(port.valid, 0)
        ctx.set(reset, 1)
        await self._tick(ctx)
        ctx.set(reset, 0)

    # What came out.

    def _collect(self):
        seen, lanes = self.seen, self.config.k_lanes
        for kind, memory in self.memories.items():
            for cycle, address, enable, word in memory.write_log:
                part = enable.bit_length() - 1
                assert enable == 1 << part
                at = address * (self.config.ratio if kind == TraceKind.KV else 1) + part
                seen.stores.append((cycle, kind, at, word[part * lanes:(part + 1) * lanes]))
        seen.stores.sort(key=lambda store: store[0])
        seen.trace = [tuple(record.values()) for record in self.trace.values]
        for token, sequence in self.logits.values:
            fields = [token[name] for name in ("first", "last", "experts", *ROUTING_FIELDS)]
            seen.logits.append((token["logits"][:token["experts"]], *fields, sequence))
        seen.stored = [tuple(stored.values()) for stored in self.stored.values]
        seen.saturated, seen.done_cycles = self.saturated.values, self.done.cycles

    def _compare(self, jobs, stores, logits, saturated):
        seen = self.seen
        assert [store[1:] for store in seen.stores] == [(kind, *store) for kind, _, *store in stores]
        assert seen.trace == stores
        for kind, wanted in ((TraceKind.RESIDUAL, self.residual), (TraceKind.HIDDEN, self.hidden),
                             (TraceKind.KV, self.kv)):
            assert np.array_equal(self.memories[kind].words.reshape(wanted.shape), wanted)
        assert seen.logits == logits
        counted, dones = np.cumsum(seen.saturated), np.array(seen.done_cycles, int) - self.saturated.cycles[0]
        assert (counted[dones] >= np.cumsum(saturated)).all(), "counted after done"
        assert counted[-1] == sum(saturated)
        assert seen.released == sum(len(job.row) * job.instruction["n_tiles"] for job in jobs if job.is_pass)
        assert seen.peaks == {entry: self.peaks[entry] for entry in seen.peaks}
        assert seen.sums == {row: self.sums[row] for row in seen.sums}


@pytest.fixture
def world():
    """The class: ``world(name, seed, gap)``."""
    return World
