# SPDX-License-Identifier: Apache-2.0
"""The row writer: from finished sums to stored rows."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, ROW_SUM_BITS, SCORE_FRACTION
from moevit.spec.isa import Destination, Peak
from moevit.spec.trace import TraceKind

from ..interfaces import (
    PEAK_ENTRIES,
    SEQUENCE_BITS,
    TOKEN_BITS,
    Flow,
    MemoryRead,
    MemoryWrite,
    dispatch_layout,
    logits_layout,
    peak_layout,
    row_sum_layout,
    stored_layout,
    sums_layout,
    tag_layout,
    trace_layout,
    word_layout,
)
from ..plumbing.timeline import Timeline
from .address import Address
from .columns import ColumnStore
from .finish import Finish
from .gate_logits import HOW_TO_ROUTE, GateLogits
from .peaks import PeakTable
from .popcount import PopCount
from .row_sums import RowSums
from .sum_scale import SumScale
from .write_loop import WriteLoop

__all__ = ["RowWriter"]


class RowWriter(wiring.Component):
    """Scales finished sums, adds bias and residual, applies activation and gate score, saturates, stores.

    It tracks the peaks of rows, and the sums of residual rows.

    Golden: ``golden.integer.row_writer.write_rows`` and ``gate_logits``. One word per cycle, without bubbles between
    rows, n-tiles and passes, while sums, tags and column parameters are there; `LATENCY` cycles from a row's sums to
    the write of its first word. Sums and tags cannot be refused: whoever sends them has at most config.sums_depth
    rows that were not ``released``. Three multipliers per lane and one for the address.

    A PASS into the residual memory starts when all earlier residual words are written, and writes each word once.

    Members
    -------
    dispatch : In(stream), every instruction; those that are no PASS are skipped
    columns : In(stream), 4 beats of column parameters per n-tile of a PASS that is not ``constant``
    sums, tag : In(Flow), one each per row and n-tile, in the same order
    released : Out(1), pulse: a row was taken out of the queue of sums
    residual_read, residual, hidden, kv : ports of the memories; a word of ``kv`` has n_lanes / k_lanes granules
    peaks : In(MemoryRead), the peak table
    row_sums : In(MemoryRead(max_tokens, s27)), sums of residual rows
    summed : In(Flow(row_sum_layout())), what a NORM found; no residual word is under way then
    logits : Out(stream), gate logits for the router
    sequence : Out(16), number of the instruction of ``logits`` (0 unless the configuration traces)
    saturated : Out, values clipped, some cycles ago, at the latest with ``done``
    done : Out(1), pulse per PASS that does not go to the router: all is written, and read by whoever asks in the next
        cycle
    stored : Out(stored_layout()), as late after its row as ``done`` is after the last, and a cycle
    trace : Out(Flow), a record per stored word (never valid unless the configuration traces)
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._scale, self._finish, self._peaks = SumScale(config), Finish(config), PeakTable(config)
        self._saturated, self._row_sums = PopCount(config.k_lanes), RowSums(config)
        self._biased = 1 + self._scale.latency
        self._stored = self._biased + self._finish.latency
        self._done = self._stored + max(unit.latency for unit in (self._peaks, self._saturated, self._row_sums))
        super().__init__({
            "dispatch": In(stream.Signature(dispatch_layout())),
            "columns": In(stream.Signature(config.n_lanes * 8)),
            "sums": In(Flow(sums_layout(config))),
            "tag": In(Flow(tag_layout(config))),
            "released": Out(1),
            "residual_read": Out(MemoryRead(config.residual_words, word_layout(config))),
            "residual": Out(MemoryWrite(config.residual_words, word_layout(config))),
            "hidden": Out(MemoryWrite(config.hidden_words, word_layout(config))),
            "kv": Out(MemoryWrite(config.kv_words, data.ArrayLayout(signed(8), config.n_lanes), granules=config.ratio)),
            "peaks": In(MemoryRead(PEAK_ENTRIES * config.max_tokens, peak_layout())),
            "row_sums": In(MemoryRead(config.max_tokens, signed(ROW_SUM_BITS))),
            "summed": In(Flow(row_sum_layout())),
            "logits": Out(stream.Signature(logits_layout(config))),
            "sequence": Out(SEQUENCE_BITS),
            "saturated": Out(range(config.k_lanes + 1)),
            "done": Out(1),
            "stored": Out(stored_layout()),
            "trace": Out(Flow(trace_layout(config))),
        })

    @property
    def LATENCY(self) -> int:
        """Cycles from a row's ``sums`` to the write of its first word."""
        return 2 + self._stored

    @property
    def DONE_LATENCY(self) -> int:
        """Cycles from the last ``sums`` of a pass to ``done``, one more if they are two words."""
        return 2 + self._done

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        self._take(m, line)
        self._calculate(m, line)
        self._store(m, line)
        self._track(m, line)
        return m

    def _take(self, m: Module, line: Timeline) -> None:
        """Stage 0: a word of a row for whom everything is there."""
        config = self._config
        m.submodules.sums = sums = SyncFIFOBuffered(width=sums_layout(config).size, depth=config.sums_depth)
        m.submodules.tags = tags = SyncFIFOBuffered(width=tag_layout(config).size, depth=config.sums_depth)
        m.submodules.walk = walk = WriteLoop(config)
        m.submodules.columns = columns = ColumnStore(config)
        m.submodules.gate = gate = GateLogits(config)
        connect(m, flipped(self.dispatch), walk.dispatch)
        connect(m, flipped(self.columns), columns.beats)
        instruction, step = walk.current.instruction, walk.step
        tag = data.View(tag_layout(config), tags.r_data)
        stored = walk.go & (step.lanes != 0)
        to_router = instruction.destination == Destination.ROUTER
        to_residual = instruction.destination == Destination.RESIDUAL

        # Residual words under way, and whether there are any. Whether one is added is known late.
        count, adding, added = Signal(range(self._stored + 1)), Signal(), stored & to_residual
        m.d.sync += [
            count.eq(count + added - self.residual.enable),
            adding.eq(added | (count > 1) | ((count == 1) & ~self.residual.enable)),
        ]
        m.d.comb += [
            sums.w_en.eq(self.sums.valid),
            sums.w_data.eq(self.sums.payload),
            tags.w_en.eq(self.tag.valid),
            tags.w_data.eq(self.tag.payload),
            walk.go.eq(walk.active & sums.r_rdy & tags.r_rdy & (instruction.constant | columns.full)
                       & (gate.room | ~to_router) & ~(walk.opening & to_residual & adding)),
            sums.r_en.eq(walk.go & walk.next_row),
            tags.r_en.eq(walk.go & walk.next_row),
            columns.part.eq(step.part),
            columns.release.eq(walk.go & walk.next_tile & ~instruction.constant),
            gate.reserve.eq(stored & to_router),
        ]
        m.d.sync += self.released.eq(walk.go & walk.next_row)

        half = config.k_lanes * ACCUMULATOR_BITS
        halves = [sums.r_data[part * half:(part + 1) * half] for part in range(config.ratio)]
        experts = config.max_experts * ACCUMULATOR_BITS
        line.put(
            0,
            high=sums.r_data[experts:2 * experts] if config.gate_sweeps == 2 else C(0),
            sums=Mux(step.part, halves[-1], halves[0]),
            scale=tag.scale,
            score=Mux(instruction.score, tag.score, 1 << SCORE_FRACTION),
            row=(tag.row + step.skipped)[:TOKEN_BITS],
            word=step.word,
            lanes=step.lanes,
            instruction=instruction,
            sequence=walk.current.sequence,
            first=step.first,
            last=step.last,
            starts=instruction.peak_first & (step.word == instruction.first_word),
        )
        line.put(
            0,
            reset=True,
            valid_residual=added,
            valid_hidden=stored & (instruction.destination == Destination.HIDDEN),
            valid_kv=stored & ((instruction.destination == Destination.KEYS)
                               | (instruction.destination == Destination.VALUES)),
            valid_gate=stored & to_router,
            valid_peak=stored & ~to_router & (instruction.peak != Peak.NONE),
            valid_end=walk.go & step.end & ~to_router,
            valid_row=walk.go & walk.next_row & walk.last_tile & ~to_router & ~instruction.scatter,
        )

    def _calculate(self, m: Module, line: Timeline) -> None:
        """Stage 1 to the stored word; the router's words leave on the way."""
        m.submodules.scale, m.submodules.finish, gate = self._scale, self._finish, m.submodules.gate
        instruction, biased = line.at(1, "instruction"), self._biased
        line.put(1, **{name: instruction[name] for name in (
            "activation", "saturation", "peak", "columns", *HOW_TO_ROUTE)})
        m.d.comb += [
            self._scale.sums.eq(line.at(1, "sums")),
            self._scale.scale.eq(line.at(1, "scale")),
            self._scale.shift.eq(instruction.shift),
            self._scale.columns.eq(m.submodules.columns.o),
            self._scale.constant.eq(instruction.constant),
            self._scale.constant_scale.eq(instruction.constant_scale),
            self._scale.gate.eq(line.at(1, "valid_gate")),
            self._scale.digits.eq(instruction.digits),
            self._scale.high.eq(line.at(1, "high")),
            *(gate.values[expert].eq(self._scale.o[expert]) for expert in range(self._config.max_experts)),
            *(gate.bias[expert].eq(self._scale.bias[expert]) for expert in range(self._config.max_experts)),
            gate.about.first.eq(line.at(biased, "first")),
            gate.about.last.eq(line.at(biased, "last")),
            gate.about.experts.eq(line.at(biased, "columns")),
            *(gate.about[name].eq(line.at(biased, name)) for name in HOW_TO_ROUTE),
            gate.about.sequence.eq(line.at(biased, "sequence")),
            gate.valid.eq(line.at(biased, "valid_gate")),
            self.sequence.eq(gate.sequence),
            self._finish.i.eq(self._scale.o),
            self._finish.activation.eq(line.at(biased, "activation")),
            self._finish.score.eq(line.at(biased, "score")),
            self._finish.lanes.eq(line.at(biased, "lanes")),
            self._finish.saturation.eq(line.at(biased, "saturation")),
            self._finish.adds.eq(line.at(biased, "valid_residual")),
        ]
        connect(m, gate.logits, flipped(self.logits))

    def _store(self, m: Module, line: Timeline) -> None:
        """The last stage: addresses, memories, trace."""
        config = self._config
        m.submodules.address = address = Address(config)
        m.d.comb += [
            address.instruction.eq(line.at(1, "instruction")),
            address.row.eq(line.at(1, "row")),
            address.word.eq(line.at(1, "word")),
        ]
        line.put(1 + address.latency, address=address.address, part=address.part)
        # The old word is asked for two cycles early and kept, for the sake of the memory's own delay.
        ask = self._biased + self._finish.residual_stage - 2
        old = Signal(word_layout(config), reset_less=True)
        m.d.sync += old.eq(self.residual_read.data)
        line.put(ask + 2, old=old)
        at, part, word = line.at(self._stored, "address"), line.at(self._stored, "part"), self._finish.o
        m.d.comb += [
            self.residual_read.enable.eq(line.at(ask, "valid_residual")),
            self.residual_read.address.eq(line.at(ask, "address")),
            self._finish.residual.eq(old),
            self._row_sums.old.eq(line.at(self._stored, "old")),
            self.residual.enable.eq(line.at(self._stored, "valid_residual")),
            self.residual.address.eq(at),
            self.residual.data.eq(word),
            self.hidden.enable.eq(line.at(self._stored, "valid_hidden")),
            self.hidden.address.eq(at),
            self.hidden.data.eq(word),
            self.kv.enable.eq(line.at(self._stored, "valid_kv") << (part if config.ratio == 2 else 0)),
            self.kv.address.eq(at),
            *(self.kv.data[lane].eq(word[lane % config.k_lanes]) for lane in range(config.n_lanes)),
        ]
        if config.trace:
            stored = [line.at(self._stored, name) for name in ("valid_residual", "valid_hidden", "valid_kv")]
            kinds = TraceKind.RESIDUAL, TraceKind.HIDDEN, TraceKind.KV
            m.d.comb += [
                self.trace.valid.eq(Cat(stored).any()),
                self.trace.payload.sequence.eq(line.at(self._stored, "sequence")),
                self.trace.payload.address.eq(at),
                self.trace.payload.data.eq(word),
            ]
            for valid, kind in zip(stored, kinds, strict=True):
                with m.If(valid):
                    m.d.comb += self.trace.payload.kind.eq(kind)
                    if kind == TraceKind.KV and config.ratio == 2:
                        m.d.comb += self.trace.payload.address.eq(Cat(part, at))

    def _track(self, m: Module, line: Timeline) -> None:
        """Behind the last stage: peaks, sums, saturated values, rows wholly stored, the end of the pass."""
        m.submodules.peaks, m.submodules.row_sums, m.submodules.saturated = (
            self._peaks, self._row_sums, self._saturated)
        connect(m, flipped(self.peaks), self._peaks.read)
        connect(m, flipped(self.row_sums), self._row_sums.read)
        connect(m, flipped(self.summed), self._row_sums.set)
        line.put(2, entry=self._entry(m, line))
        stored = self._stored
        to_memory = line.at(stored, "valid_residual") | line.at(stored, "valid_hidden") | line.at(stored, "valid_kv")
        m.d.comb += [
            self._peaks.word.eq(self._finish.o),
            self._peaks.lanes.eq(line.at(stored, "lanes")),
            self._peaks.kind.eq(line.at(stored, "peak")),
            self._peaks.start.eq(line.at(stored, "starts")),
            self._peaks.entry.eq(line.at(stored, "entry")),
            self._peaks.enable.eq(line.at(stored, "valid_peak")),
            self._row_sums.word.eq(self._finish.o),
            self._row_sums.row.eq(line.at(stored, "row")),
            self._row_sums.enable.eq(line.at(stored, "valid_residual")),
            self._saturated.i.eq(Mux(to_memory, self._finish.clipped, 0)),
            self.saturated.eq(self._saturated.o),
            self.done.eq(line.at(self._done, "valid_end")),
        ]

        done, row = self._done, self.stored.row
        with m.If(line.at(done, "valid_row")):
            m.d.sync += [
                self.stored.sequence.eq(line.at(done, "sequence")),
                row.eq(Mux(line.at(done, "first") | line.at(done, "valid_end"), 0, row + 1)),
            ]

    def _entry(self, m: Module, line: Timeline) -> Signal:
        """Stage 2: the row's entry in the peak table."""
        entry = Signal.like(self._peaks.entry, reset_less=True)
        m.d.sync += entry.eq(line.at(1, "instruction").destination_peak + line.at(1, "row"))
        return entry
