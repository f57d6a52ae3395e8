# SPDX-License-Identifier: Apache-2.0
"""A world around the row writer: memories, sums and tags that come when they come, a router that takes its time."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from moevit.golden.integer.rounding import round_shift
from moevit.golden.integer.row_scale import RowScale
from moevit.golden.integer.row_writer import gate_logits, write_rows
from moevit.hw.interfaces import PEAK_ENTRIES, dispatch_layout
from moevit.hw.writer.gate_logits import HOW_TO_ROUTE
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import DIGIT_BITS
from moevit.spec.isa import Activation, Destination, Opcode, Peak, Saturation
from moevit.spec.trace import TraceKind

LIMIT = 20_000  # cycles after which a test has hung


@dataclass
class Job:
    """An instruction, and for a PASS what comes in along with it: accumulators (rows, n_tiles x n_lanes), tokens, row
    scales and scores (rows,), column parameters (n_tiles x n_lanes,)."""

    instruction: dict
    accumulator: np.ndarray | None = None
    row: np.ndarray | None = None
    scale: RowScale | None = None
    score: np.ndarray | None = None
    column_scale: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def is_pass(self):
        return self.instruction["opcode"] == Opcode.PASS

    @property
    def first_word(self):
        return self.instruction.get("first_word", 0)


@dataclass
class Seen:
    """What came out, with cycles. stores: (cycle, kind, address, data); trace: (kind,
    sequence, address, data); logits: (logits, first, last, experts, how to
    route, sequence); stored: (sequence, row) in each cycle."""

    stores: list = field(default_factory=list)
    trace: list = field(default_factory=list)
    logits: list = field(default_factory=list)
    done_cycles: list = field(default_factory=list)
    sum_cycles: list = field(default_factory=list)
    peaks: dict = field(default_factory=dict)
    sums: dict = field(default_factory=dict)
    saturated: int = 0
    saturated_at_done: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    released: int = 0


class World:
    """Random memories of a configuration; ``run`` lets the row writer execute jobs over them and checks all it left.

    ``gap`` is the probability of a pause, per cycle, in each of: dispatch, columns, sums, tags; ``router_gap`` of the
    router.
    """

    def __init__(self, name="8x8", seed=0, gap=0.0):
        print(f"configuration {name}, seed {seed}, gap {gap}")
        self.config = config = replace(CONFIGS[name], trace=True)
        self.random = random = np.random.default_rng(seed)
        self.gap = self.router_gap = gap
        lanes = config.k_lanes
        self.residual = random.integers(-32768, 32768, (config.residual_words, lanes))
        self.hidden = random.integers(-32768, 32768, (config.hidden_words, lanes))
        self.kv = random.integers(-128, 128, (config.kv_words * config.ratio, lanes))
        self.peaks = np.zeros(PEAK_ENTRIES * config.max_tokens, np.int64)
        self.sums = np.random.default_rng([seed, 1]).integers(-(1 << 25), 1 << 25, config.max_tokens)
        self.seen = Seen()

    def job(self, rows=5, columns=20, row=None, bits=20, **fields):
        """A PASS with random data whose accumulators have up to ``bits`` bits."""
        random, config = self.random, self.config
        instruction = {"opcode": Opcode.PASS, "rows": rows, "columns": columns,
                       "n_tiles": -(-columns // config.n_lanes), "k_tiles": 1, "shift": bits - 2,
                       "destination_stride": -(-columns // config.k_lanes), "saturation": Saturation.ROW}
        instruction |= {name: int(value) for name, value in fields.items()}
        width = instruction["n_tiles"] * config.n_lanes
        size = random.integers(1, bits + 1, (rows, width))
        accumulator = random.integers(-(1 << 26), 1 << 26, (rows, width)) >> (26 - np.minimum(size, 26))
        accumulator[random.random((rows, width)) < 0.02] = -(1 << (bits - 1))
        if instruction.get("digits"):  # two sums make one of s27
            accumulator[:, config.max_experts:] >>= 1
        scale = RowScale(random.integers(1, 1 << 16, rows), random.integers(-3, 4, rows))
        column_scale, bias = random.integers(0, 1 << 16, width), random.integers(-2000, 2000, width)
        if instruction.get("constant"):
            column_scale, bias = np.full(width, instruction["constant_scale"]), np.zeros(width, np.int64)
        return Job(instruction, accumulator, np.arange(rows) if row is None else np.asarray(row), scale,
                   random.integers(0, 65537, rows), column_scale, bias)

    # What must come out.

    def expect(self, jobs):
        """Executes ``jobs`` on the world's memories; returns stores (kind, address, data), logits, saturated."""
        stores, logits, saturated = [], [], []
        for sequence, job in enumerate(jobs):
            if not job.is_pass:
                continue
            instruction, columns = job.instruction, job.instruction["columns"]
            stored = slice(job.first_word * self.config.k_lanes, columns)
            parameters = (self._joined(job)[:, stored], job.scale, job.column_scale[stored], job.bias[stored],
                          instruction["shift"])
            if instruction["destination"] == Destination.ROUTER:
                about = (columns, *(instruction.get(name, 0) for name in HOW_TO_ROUTE), sequence)
                rows = gate_logits(*parameters)
                logits += [(list(row), int(index == 0), int(index == len(rows) - 1), *about)
                           for index, row in enumerate(rows)]
                continue
            kind, address = self._addresses(job)
            memory = {TraceKind.RESIDUAL: self.residual, TraceKind.HIDDEN: self.hidden, TraceKind.KV: self.kv}[kind]
            adds = kind == TraceKind.RESIDUAL
            written = write_rows(
                *parameters, activation=Activation(instruction.get("activation", 0)),
                score=job.score if instruction.get("score") else None,
                residual=memory[address].reshape(len(job.row), -1)[:, :stored.stop - stored.start] if adds else None,
                saturation=instruction["saturation"])
            saturated.append(written.saturated)
            padding = address.shape[1] * self.config.k_lanes - written.rows.shape[1]
            before = memory[address].sum(axis=(1, 2))
            memory[address] = np.pad(written.rows, ((0, 0), (0, padding))).reshape(*address.shape, -1)
            if adds:
                change = memory[address].sum(axis=(1, 2)) - before
                np.add.at(self.sums, self._rows_written(job) % len(self.sums), change)
            stores += [(kind, sequence, int(at), list(data)) for at, data in
                       zip(address.ravel(), memory[address].reshape(-1, self.config.k_lanes), strict=True)]
            if instruction.get("peak"):
                peak = (np.abs(written.rows) if instruction["peak"] == Peak.ABSOLUTE else written.rows).max(axis=1)
                entry = instruction.get("destination_peak", 0) + self._rows_written(job)
                self.peaks[entry] = peak if instruction.get("peak_first") else np.maximum(self.peaks[entry], peak)
        return stores, logits, saturated

    def _joined(self, job):
        """Accumulators; of a gate in two sweeps both sums of each expert make one."""
        experts = self.config.max_experts
        if not job.instruction.get("digits") or self.config.gate_sweeps == 3:
            return job.accumulator
        return round_shift(job.accumulator[:, :experts], DIGIT_BITS) + job.accumulator[:, experts:2 * experts]

    def _rows_written(self, job):
        """Destination rows: ``gap`` more from group to group."""
        rows, size = job.row.copy(), job.instruction.get("group", 0)
        for group in range(1, -(-len(rows) // size) if size else 0):
            rows[group * size:] += job.instruction["gap"]
        return rows

    def _addresses(self, job):
        ratio, instruction = self.config.ratio, job.instruction
        word = np.arange(job.first_word, -(-instruction["columns"] // self.config.k_lanes))
        row = self._rows_written(job)[:, None]
        base, stride = instruction.get("destination_base", 0), instruction["destination_stride"]
        match instruction["destination"]:
            case Destination.RESIDUAL:
                return TraceKind.RESIDUAL, base + row * stride + word
            case Destination.HIDDEN:
                return TraceKind.HIDDEN, base + row * stride + word
            case Destination.KEYS:
                return TraceKind.KV, (base + word * stride + row // ratio) * ratio + row % ratio
            case Destination.VALUES:
                return TraceKind.KV, (base + word // ratio * stride + row) * ratio + word % ratio

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

    def run(self, jobs, interrupted=None):
        """Simulates, compares with the golden functions, and returns what was seen.

        ``interrupted``: jobs that are under way when the machine is reset, before ``jobs`` come."""
        memories = {TraceKind.RESIDUAL: self.residual.copy(), TraceKind.HIDDEN: self.hidden.copy(),
                    TraceKind.KV: self.kv.copy()}
        self.known = self.sums.copy()
        stores, logits, saturated = self.expect(jobs)
        self.unit, self.seen, reset = RowWriter(self.config), Seen(), Signal()
        simulator = Simulator(ResetInserter(reset)(self.unit))
        simulator.add_clock(1e-6)

        async def bench(ctx):
            if interrupted:
                await self._interrupt(ctx, interrupted, reset)
            for row, total in enumerate(self.known):
                ctx.set(self.unit.summed.valid, 1)
                ctx.set(self.unit.summed.payload, {"row": row, "total": int(total)})
                await ctx.tick()
            ctx.set(self.unit.summed.valid, 0)
            await self._bench(ctx, jobs, memories, len(saturated), len(logits))

        simulator.add_testbench(bench)
        simulator.run()
        seen, stores = self.seen, self._in_order(jobs, stores)
        assert [store[1:] for store in seen.stores] == [(kind, *store) for kind, _, *store in stores]
        assert seen.trace == stores
        assert np.array_equal(memories[TraceKind.RESIDUAL], self.residual)
        assert np.array_equal(memories[TraceKind.HIDDEN], self.hidden)
        assert np.array_equal(memories[TraceKind.KV], self.kv)
        assert seen.logits == logits
        assert all(found >= wanted for found, wanted in
                   zip(seen.saturated_at_done, np.cumsum(saturated), strict=True)), "counted after done"
        assert seen.saturated == sum(saturated)
        assert seen.released == sum(len(job.row) * job.instruction["n_tiles"] for job in jobs if job.is_pass)
        assert seen.peaks == {entry: self.peaks[entry] for entry in seen.peaks}
        assert seen.sums == {row: self.sums[row] for row in seen.sums}
        return seen

    def _in_order(self, jobs, stores):
        """``stores`` as the hardware makes them: per n-tile all rows, per row all words."""
        ordered, stores = [], iter(stores)
        for job in jobs:
            if not job.is_pass or job.instruction["destination"] == Destination.ROUTER:
                continue
            ratio, words = self.config.ratio, -(-job.instruction["columns"] // self.config.k_lanes)
            table = [{word: next(stores) for word in range(job.first_word, words)} for _ in job.row]
            ordered += [row[word] for tile in range(0, words, ratio) for row in table
                        for word in range(tile, tile + ratio) if word in row]
        return ordered

    async def _bench(self, ctx, jobs, memories, dones, tokens):
        unit, seen, random = self.unit, self.seen, self.random
        rows = list(self._rows(jobs))
        queues = [(unit.dispatch, deque(self._dispatch(jobs))), (unit.columns, deque(self._columns(jobs)))]
        flows = [(unit.sums, deque(row for row, _ in rows)), (unit.tag, deque(tag for _, tag in rows))]
        under_way, offered, cycle = [0, 0], [False, False], 0
        while len(seen.done_cycles) < dones or len(seen.logits) < tokens:
            assert cycle < LIMIT, f"hung with {len(seen.done_cycles)} of {dones} passes done"
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
                        seen.sum_cycles.append(cycle)
            ready = random.random() >= self.router_gap
            ctx.set(unit.logits.ready, ready)
            # All inputs of this cycle are set: look at the outputs.
            for index, (port, queue) in enumerate(queues):
                if offered[index] and ctx.get(port.ready):
                    queue.popleft()
                    offered[index] = False
            if ctx.get(unit.released):
                under_way = [count - 1 for count in under_way]
                seen.released += 1
            if ready and ctx.get(unit.logits.valid):
                self._token(ctx)
            asked = ctx.get(unit.residual_read.address) if ctx.get(unit.residual_read.enable) else None
            old = None if asked is None else [int(value) for value in memories[TraceKind.RESIDUAL][asked]]
            self._store(ctx, cycle, memories)
            seen.saturated += ctx.get(unit.saturated)
            stored = ctx.get(unit.stored)
            seen.stored.append((stored.sequence, stored.row))
            if ctx.get(unit.done):
                seen.done_cycles.append(cycle)
                seen.saturated_at_done.append(seen.saturated)
            await ctx.tick()
            if old is not None:
                ctx.set(unit.residual_read.data, old)
            cycle += 1
        # In the cycle after the last done every peak and sum can be read, the last written first.
        entries = [job.instruction.get("destination_peak", 0) + row for job in reversed(jobs) if job.is_pass
                   for row in reversed(self._rows_written(job).tolist())]
        rows = list(dict.fromkeys(row % len(self.sums) for job in reversed(jobs) if job.is_pass
                                  for row in reversed(self._rows_written(job).tolist())))
        ctx.set(unit.peaks.enable, 1)
        ctx.set(unit.row_sums.enable, 1)
        for index, entry in enumerate(dict.fromkeys([*entries, 0, *range(len(self.peaks))])):
            row = rows[index] if index < len(rows) else index % len(self.sums)
            ctx.set(unit.peaks.address, entry)
            ctx.set(unit.row_sums.address, row)
            await ctx.tick()
            seen.peaks[entry] = ctx.get(unit.peaks.data)
            seen.sums[row] = ctx.get(unit.row_sums.data)

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
            await ctx.tick()
            for (port, queue), move in zip(queues, taken, strict=True):
                if move:
                    ctx.set(port.payload, next(queue))
        for port, _ in queues:
            ctx.set(port.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)

    def _token(self, ctx):
        token = ctx.get(self.unit.logits.payload)
        about = [token[name] for name in ("first", "last", "experts", *HOW_TO_ROUTE)]
        self.seen.logits.append((list(token["logits"])[:token["experts"]], *about, ctx.get(self.unit.sequence)))

    def _store(self, ctx, cycle, memories):
        unit, lanes = self.unit, self.config.k_lanes
        for port, kind in ((unit.residual, TraceKind.RESIDUAL), (unit.hidden, TraceKind.HIDDEN),
                           (unit.kv, TraceKind.KV)):
            enable = ctx.get(port.enable)
            if enable:
                part = enable.bit_length() - 1
                assert enable == 1 << part
                address = ctx.get(port.address) * (self.config.ratio if kind == TraceKind.KV else 1) + part
                word = list(ctx.get(port.data))[part * lanes:(part + 1) * lanes]
                memories[kind][address] = word
                self.seen.stores.append((cycle, kind, address, word))
        if ctx.get(unit.trace.valid):
            record = ctx.get(unit.trace.payload)
            self.seen.trace.append((record["kind"], record["sequence"], record["address"], list(record["data"])))

    def _dispatch(self, jobs):
        layout = dispatch_layout()
        for sequence, job in enumerate(jobs):
            yield layout.const({"instruction": job.instruction, "sequence": sequence, "expert": 0})


@pytest.fixture
def world():
    """The class: ``world(name, seed, gap)``."""
    return World
