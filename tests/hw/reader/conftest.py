# SPDX-License-Identifier: Apache-2.0
"""A world around the row reader: memories, tiles that come when they come, a row writer that takes its time."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.golden.integer.norm import NormRows, apply_gain, norm_rows
from moevit.golden.integer.row_scale import UNIT, RoundedPeak, RowScale, digits, peak_scale, quantise, reciprocal
from moevit.golden.integer.softmax import exponentials
from moevit.hw.interfaces import PEAK_ENTRIES, Accumulate, Activity, dispatch_layout
from moevit.hw.reader.row_reader import RowReader
from moevit.spec.isa import Opcode, Operand, RowSource

from ...configs import TEST_CONFIGS

OPERATIONS = Accumulate.SET, Accumulate.ADD, Accumulate.SHIFT_ADD
LIMIT = 20_000  # cycles after which a test has hung


@dataclass
class Seen:
    """What came out, with cycles: rows (swap, operands, address, operation, last), tags (row, mantissa, exponent,
    score), words and commands of STORE, copies, norm records, sums (row, total), done pulses, activities."""

    dispatched: list = field(default_factory=list)
    row_cycles: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    tag_cycles: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    words: list = field(default_factory=list)
    word_cycles: list = field(default_factory=list)
    commands: list = field(default_factory=list)
    copies: dict = field(default_factory=dict)
    norms: list = field(default_factory=list)
    sums: list = field(default_factory=list)
    done_cycles: list = field(default_factory=list)
    finished_cycles: list = field(default_factory=list)
    activities: list = field(default_factory=list)
    most_under_way: int = 0


class World:
    """Random memories of a configuration; ``run`` lets the row reader execute instructions over them.

    tile_delay, writer_delay, store_stall, gain_stall: functions of the random generator, called per event, for the
    cycles from a tile's hand-over to the next one (at least k_lanes), from a last row to its release, and whether the
    output (the gain's stream) pauses in a cycle.
    """

    def __init__(self, name="8x8", seed=0):
        print(f"configuration {name}, seed {seed}")
        self.config = config = replace(TEST_CONFIGS[name], trace=True)
        self.random = random = np.random.default_rng(seed)
        lanes = config.k_lanes
        self.residual = random.integers(-32768, 32768, (config.residual_words, lanes))
        self.hidden = random.integers(-32768, 32768, (config.hidden_words, lanes))
        self.peaks = random.integers(0, 32769, PEAK_ENTRIES * config.max_tokens)
        self.queue = np.stack([random.integers(0, config.max_tokens, config.max_experts * config.max_tokens),
                               random.integers(0, 65537, config.max_experts * config.max_tokens)], axis=1)
        self.sums = np.zeros(config.max_tokens, np.int64)
        self.norm: NormRows | None = None
        self.gain = np.zeros(0, np.int64)
        self.tile_delay = lambda random: 0
        self.writer_delay = lambda random: 12
        self.store_stall = self.gain_stall = lambda random: False

    # What must come out.

    def words(self, instruction, source_row):
        memory = self.hidden if instruction.get("source", 0) == RowSource.HIDDEN else self.residual
        start = instruction["source_base"] + np.asarray(source_row)[:, None] * instruction["source_stride"]
        return memory[start + np.arange(instruction["k_tiles"])].reshape(len(source_row), -1)

    def fit_peaks(self, instruction, source_row, absolute=True):
        """Give the rows that ``instruction`` reads their true peaks, as a row writer would have."""
        x = self.words(instruction, source_row)
        if absolute:
            peak = np.abs(x).max(axis=1)
        else:
            peak = x[:, :instruction["keys"]].max(axis=1)
        self.peaks[instruction["source_peak"] + np.asarray(source_row)] = peak

    def expect_pass(self, instruction, expert=0):
        """Rows and tags of a PASS."""
        rows, lanes = instruction["rows"], self.config.k_lanes
        place = np.arange(rows)
        token, score = self.queue[expert * self.config.max_tokens + place].T
        source_row = token if instruction.get("gather") else place
        x = self.words(instruction, source_row)
        match instruction.get("operand", Operand.RAW):
            case Operand.RAW:
                operands = ((x + 256) & 511) - 256
                scale = RowScale(np.full(rows, UNIT.mantissa), np.full(rows, UNIT.exponent))
            case Operand.ROW:
                found = peak_scale(self.peaks[instruction["source_peak"] + source_row])
                operands, scale = quantise(x, RoundedPeak(found.m[:, None], found.e[:, None])), found.row_scale
            case Operand.NORM:
                mean, found, scale = self.norm.mean, self.norm.peak, self.norm.scale
                value = apply_gain(x, mean[source_row, None], self.gain)
                operands = quantise(value, RoundedPeak(found.m[source_row, None], found.e[source_row, None]))
                scale = RowScale(scale.mantissa[source_row], scale.exponent[source_row])
            case Operand.EXP:
                operands = exponentials(x, self.peaks[instruction["source_peak"] + source_row], instruction["keys"])
                scale = reciprocal(operands.sum(axis=1))
        groups = [operands]
        if instruction.get("operand") in (Operand.ROW, Operand.NORM):
            high, low = digits(operands)
            groups = [high, low, high][:self.config.gate_sweeps] if instruction.get("digits") else [high]
        tiles = [(group, word) for group in range(len(groups)) for word in range(instruction["k_tiles"])]
        expected = []
        for _ in range(instruction["n_tiles"]):
            for tile, (group, word) in enumerate(tiles):
                operation = OPERATIONS[group] if word == 0 and group != 1 else Accumulate.ADD
                for row in range(rows):
                    lane = groups[group][row, word * lanes:(word + 1) * lanes]
                    expected.append((int(row == 0), list(lane), row, operation, int(tile == len(tiles) - 1)))
        to = token if instruction.get("scatter") else place
        tags = [(to[row], scale.mantissa[row], scale.exponent[row],
                 score[row] if instruction.get("score") else None) for row in range(rows)]
        return expected, tags * instruction["n_tiles"]

    def apply_norm(self, instruction, gain):
        """Remember the statistics that a NORM finds; its norm records."""
        rows = np.arange(instruction["rows"])
        self.gain = np.asarray(gain)
        self.norm = norm_rows(self.words(instruction, rows), self.gain, instruction["dim"], instruction["inverse_dim"],
                              instruction["epsilon"], self.sums[rows] if instruction.get("summed") else None)
        fields = (self.norm.mean, self.norm.peak.m, self.norm.peak.e, self.norm.scale.mantissa,
                  self.norm.scale.exponent)
        return [(row, *(int(values[row]) for values in fields)) for row in rows]

    # What does.

    def run(self, program, gains=(), experts=None, first_sequence=0):
        """Dispatch ``program`` (dicts of instruction fields) at once; gains: s16 per NORM, in order."""
        reader, seen, config = RowReader(self.config), Seen(), self.config
        simulator = Simulator(reader)
        simulator.add_clock(1e-6)

        async def bench(ctx):
            await self._world(ctx, reader, seen, program, gains, experts, first_sequence)

        simulator.add_testbench(bench)
        simulator.run()
        assert seen.most_under_way <= config.sums_depth
        return seen

    async def _world(self, ctx, reader, seen, program, gains, experts, first_sequence):
        config, random = self.config, self.random
        beats = deque(int.from_bytes(part.tobytes(), "little") for gain in gains
                      for part in np.asarray(gain, "<i2").view(np.uint8).reshape(-1, config.n_lanes))
        banks = config.residual_banks
        memories = [(reader.hidden, self.hidden), (reader.peaks, self.peaks), (reader.queue, self.queue),
                    (reader.sums, self.sums),
                    *((port, self.residual[bank::banks]) for bank, port in enumerate(reader.residual))]
        waiting, unfinished = deque(enumerate(program)), []
        finished, ready_at, release = first_sequence, 0, deque()

        def happened(opcode):
            next(work for work in unfinished if work[0] == opcode and work[1])[1] -= 1

        for cycle in range(LIMIT):
            # Drive.
            ctx.set(reader.dispatch.valid, bool(waiting))
            if waiting:
                index, instruction = waiting[0]
                ctx.set(reader.dispatch.payload, dispatch_layout().const({
                    "instruction": instruction, "sequence": (first_sequence + index) & 0xFFFF,
                    "expert": experts[index] if experts else 0}))
            ctx.set(reader.finished, finished & 0xFFFF)
            ctx.set(reader.tile_ready, bool(cycle >= ready_at))
            releasing = bool(release and release[0] <= cycle)
            ctx.set(reader.released, releasing)
            offers = bool(beats) and not self.gain_stall(random)
            ctx.set(reader.gain.valid, offers)
            ctx.set(reader.gain.payload, beats[0] if beats else 0)
            ctx.set(reader.store.ready, not self.store_stall(random))
            ctx.set(reader.store_command.ready, not self.store_stall(random))
            # Look.
            reads = [(port, memory, ctx.get(port.address)) for port, memory in memories if ctx.get(port.enable)]
            if ctx.get(reader.dispatch.ready) and waiting:
                unfinished.append([instruction["opcode"], self._work(instruction)])
                seen.dispatched.append(cycle)
                waiting.popleft()
            if ctx.get(reader.row.valid):
                row = ctx.get(reader.row.payload)
                seen.rows.append((row.swap, list(row.operands), row.address, Accumulate(row.operation), row.last))
                seen.row_cycles.append(cycle)
                assert ctx.get(reader.tile_taken) == row.swap
                if row.swap:
                    assert cycle >= ready_at, "a sweep began without its tile"
                    ready_at = cycle + 1 + config.k_lanes + self.tile_delay(random)
                if row.last:
                    release.append(max(cycle + 1 + self.writer_delay(random), release[-1] + 1 if release else 0))
                    seen.most_under_way = max(seen.most_under_way, len(release))
            else:
                assert not ctx.get(reader.tile_taken)
            if ctx.get(reader.tag.valid):
                tag = ctx.get(reader.tag.payload)
                seen.tags.append((tag.row, tag.scale.mantissa, tag.scale.exponent, tag.score))
                seen.tag_cycles.append(cycle)
            if ctx.get(reader.store.valid) and ctx.get(reader.store.ready):
                assert seen.commands, "words came before their command"
                seen.words.append(list(ctx.get(reader.store.payload)))
                seen.word_cycles.append(cycle)
                happened(Opcode.STORE)
            if ctx.get(reader.store_command.valid) and ctx.get(reader.store_command.ready):
                command = ctx.get(reader.store_command.payload)
                seen.commands.append((command.offset, command.words))
            for bank, port in enumerate(reader.copy):
                if ctx.get(port.enable):
                    seen.copies[banks * ctx.get(port.address) + bank] = list(ctx.get(port.data))
            if ctx.get(reader.summed.valid):
                told = ctx.get(reader.summed.payload)
                seen.sums.append((told.row, told.total))
            if ctx.get(reader.done):
                seen.done_cycles.append(cycle)
                happened(Opcode.NORM)
            if ctx.get(reader.trace.valid):
                record = ctx.get(reader.trace.payload)
                assert record.kind == 4
                seen.norms.append((record.address, *list(record.data)[:5]))
            if offers and ctx.get(reader.gain.ready):
                beats.popleft()
            if releasing:
                release.popleft()
                happened(Opcode.PASS)
            seen.activities.append(Activity(ctx.get(reader.activity)))
            for work in [work for work in unfinished if not work[1]]:
                unfinished.remove(work)
                seen.finished_cycles.append(cycle)
                finished += 1
            if not waiting and not unfinished:
                break
            await ctx.tick()
            for port, memory, address in reads:
                value = memory[address]
                if port is reader.queue:
                    ctx.set(port.data, {"token": int(value[0]), "score": int(value[1])})
                else:
                    ctx.set(port.data, value.tolist() if value.ndim else int(value))
        else:
            raise AssertionError(f"hung: {len(seen.rows)} rows, {len(seen.tags)} tags, {len(seen.words)} words")
        for _ in range(30):
            assert not ctx.get(reader.row.valid)
            if ctx.get(reader.tag.valid):
                tag = ctx.get(reader.tag.payload)
                seen.tags.append((tag.row, tag.scale.mantissa, tag.scale.exponent, tag.score))
            await ctx.tick()

    @staticmethod
    def _work(instruction):
        """Events that finish an instruction: releases, words, or its done pulse."""
        match instruction["opcode"]:
            case Opcode.PASS:
                return instruction["rows"] * instruction["n_tiles"]
            case Opcode.STORE:
                return instruction["rows"] * instruction["k_tiles"]
            case Opcode.NORM:
                return 1
        return 0

    def check(self, seen, expected):
        """Compare rows and tags with those of all passes, ``expected`` being the results of ``expect_pass``."""
        rows = [row for rows, _ in expected for row in rows]
        tags = [tag for _, tags in expected for tag in tags]
        for index, (found, wanted) in enumerate(zip(seen.rows, rows, strict=False)):
            assert found == wanted, f"row {index}"
        assert len(seen.rows) == len(rows)
        for index, (found, wanted) in enumerate(zip(seen.tags, tags, strict=False)):
            assert found[:3] == wanted[:3], f"tag {index}"
            assert wanted[3] is None or found[3] == wanted[3], f"score of tag {index}"
        assert len(seen.tags) == len(tags)


@pytest.fixture
def clocked():
    """``clocked(unit, cycles, step)``: calls ``step(ctx, cycle)`` in each of ``cycles`` cycles."""

    def run(unit, cycles, step):
        async def bench(ctx):
            for cycle in range(cycles):
                step(ctx, cycle)
                await ctx.tick()

        simulator = Simulator(unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    return run


@pytest.fixture
def world():
    """The :class:`World` of a configuration and a seed."""
    return World
