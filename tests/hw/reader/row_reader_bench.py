# SPDX-License-Identifier: Apache-2.0
"""Surroundings of the row reader: memories, tiles and beats that come in time or late, a row writer that is slow."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from moevit.hw.layouts import Accumulate, Activity, dispatch_layout
from moevit.hw.reader.row_reader import RowReader
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import MemoryModel
from moevit.spec.isa import Opcode

LIMIT = 20_000  # cycles after which a test has hung
QUIET = 30  # cycles to watch after the end


@dataclass
class Seen:
    """What came out, with cycles.

    rows (swap, operands, address, operation, last), tags (row, mantissa, exponent, score), words and commands of
    STORE, copies, records of NORM, sums (row, total), pulses of ``done``, activities.
    """

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


def work_of(instruction):
    """Number of events that finish an instruction: released rows, words, or one pulse of ``done``."""
    match instruction["opcode"]:
        case Opcode.PASS:
            return instruction["rows"] * instruction["n_tiles"]
        case Opcode.STORE:
            return instruction["rows"] * instruction["k_tiles"]
        case Opcode.NORM:
            return 1
    return 0


class RowReaderBench:
    """Lets a row reader execute ``program`` over the memories of a ``world``."""

    def __init__(self, world, program, gains, experts, first_sequence):
        self.world, self.config, self.random = world, world.config, world.random
        self.reader, self.seen = RowReader(world.config), Seen()
        self.program, self.experts, self.first_sequence = program, experts, first_sequence
        self.waiting, self.unfinished = deque(enumerate(program)), []
        self.finished, self.tile_at, self.releases, self.quiet = first_sequence, 0, deque(), 0
        self.beats = deque(int.from_bytes(part.tobytes(), "little") for gain in gains
                           for part in np.asarray(gain, "<i2").view(np.uint8).reshape(-1, self.config.n_lanes))

    def run(self):
        world, reader, banks = self.world, self.reader, self.config.residual_banks
        queue = [{"token": int(token), "score": int(score)} for token, score in world.queue]
        memories = [(reader.hidden, world.hidden), (reader.peaks, world.peaks), (reader.queue, queue),
                    (reader.sums, world.sums),
                    *((port, world.residual[bank::banks]) for bank, port in enumerate(reader.residual))]
        StreamBench(reader, background=[MemoryModel(words, reads=[port]).run for port, words in memories]).play(
            self.step, LIMIT)
        seen = self.seen
        assert self.quiet == QUIET, f"hung: {len(seen.rows)} rows, {len(seen.tags)} tags, {len(seen.words)} words"
        assert seen.most_under_way <= self.config.sums_depth
        return seen

    def step(self, ctx, cycle):
        """One cycle; True in the last one."""
        releasing = bool(self.releases and self.releases[0] <= cycle)
        ctx.set(self.reader.released, releasing)
        self.dispatch(ctx, cycle)
        self.gain(ctx)
        self.rows(ctx, cycle)
        self.tags(ctx, cycle)
        self.store(ctx, cycle)
        self.norm(ctx, cycle)
        if releasing:
            self.releases.popleft()
            self.happened(Opcode.PASS)
        if self.waiting or self.unfinished:
            self.seen.activities.append(Activity(ctx.get(self.reader.activity)))
        for work in [work for work in self.unfinished if not work[1]]:
            self.unfinished.remove(work)
            self.seen.finished_cycles.append(cycle)
            self.finished += 1
        if self.waiting or self.unfinished:
            return False
        self.quiet += 1
        return self.quiet == QUIET

    def happened(self, opcode):
        """An event of the oldest unfinished instruction of this kind."""
        next(work for work in self.unfinished if work[0] == opcode and work[1])[1] -= 1

    def dispatch(self, ctx, cycle):
        port = self.reader.dispatch
        ctx.set(self.reader.finished, self.finished & 0xFFFF)
        ctx.set(port.valid, bool(self.waiting))
        if not self.waiting:
            return
        index, instruction = self.waiting[0]
        ctx.set(port.payload, dispatch_layout().const({
            "instruction": instruction, "sequence": (self.first_sequence + index) & 0xFFFF,
            "expert": self.experts[index] if self.experts else 0}))
        if ctx.get(port.ready):
            self.unfinished.append([instruction["opcode"], work_of(instruction)])
            self.seen.dispatched.append(cycle)
            self.waiting.popleft()

    def gain(self, ctx):
        port, offers = self.reader.gain, bool(self.beats) and not self.world.gain_stall(self.random)
        ctx.set(port.valid, offers)
        ctx.set(port.payload, self.beats[0] if self.beats else 0)
        if offers and ctx.get(port.ready):
            self.beats.popleft()

    def rows(self, ctx, cycle):
        reader, seen = self.reader, self.seen
        ctx.set(reader.tile_ready, bool(cycle >= self.tile_at))
        if not ctx.get(reader.row.valid):
            assert not ctx.get(reader.tile_taken)
            return
        assert not self.quiet
        row = ctx.get(reader.row.payload)
        seen.rows.append((row.swap, list(row.operands), row.address, Accumulate(row.operation), row.last))
        seen.row_cycles.append(cycle)
        assert ctx.get(reader.tile_taken) == row.swap
        if row.swap:
            assert cycle >= self.tile_at, "a sweep began without its tile"
            self.tile_at = cycle + 1 + self.config.k_lanes + self.world.tile_delay(self.random)
        if row.last:
            earliest = self.releases[-1] + 1 if self.releases else 0
            self.releases.append(max(cycle + 1 + self.world.writer_delay(self.random), earliest))
            seen.most_under_way = max(seen.most_under_way, len(self.releases))

    def tags(self, ctx, cycle):
        if ctx.get(self.reader.tag.valid):
            tag = ctx.get(self.reader.tag.payload)
            self.seen.tags.append((tag.row, tag.scale.mantissa, tag.scale.exponent, tag.score))
            self.seen.tag_cycles.append(cycle)

    def store(self, ctx, cycle):
        reader, seen = self.reader, self.seen
        ctx.set(reader.store.ready, bool(not self.world.store_stall(self.random)))
        ctx.set(reader.store_command.ready, bool(not self.world.store_stall(self.random)))
        if ctx.get(reader.store.valid) and ctx.get(reader.store.ready):
            assert seen.commands, "words came before their command"
            seen.words.append(list(ctx.get(reader.store.payload)))
            seen.word_cycles.append(cycle)
            self.happened(Opcode.STORE)
        if ctx.get(reader.store_command.valid) and ctx.get(reader.store_command.ready):
            command = ctx.get(reader.store_command.payload)
            seen.commands.append((command.offset, command.words))

    def norm(self, ctx, cycle):
        reader, seen, banks = self.reader, self.seen, self.config.residual_banks
        for bank, port in enumerate(reader.copy):
            if ctx.get(port.enable):
                seen.copies[banks * ctx.get(port.address) + bank] = list(ctx.get(port.data))
        if ctx.get(reader.summed.valid):
            total = ctx.get(reader.summed.payload)
            seen.sums.append((total.row, total.total))
        if ctx.get(reader.done):
            seen.done_cycles.append(cycle)
            self.happened(Opcode.NORM)
        if ctx.get(reader.trace.valid):
            record = ctx.get(reader.trace.payload)
            assert record.kind == 4
            seen.norms.append((record.address, *list(record.data)[:5]))
