# SPDX-License-Identifier: Apache-2.0
"""The row reader: from rows in memory to operands of the array, LayerNorm statistics, rows for the output."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_SUM_BITS
from moevit.spec.isa import Operand

from ..interfaces import Flow, MemoryRead, MemoryWrite
from ..layouts import (
    PEAK_ENTRIES,
    SEQUENCE_BITS,
    Activity,
    dispatch_layout,
    peak_layout,
    queue_entry_layout,
    row_layout,
    row_sum_layout,
    stored_layout,
    tag_layout,
    trace_layout,
    word_layout,
)
from ..plumbing.timeline import Timeline
from .access import ReadPurpose, store_command_layout
from .fetch import Fetch
from .gain import Gain
from .norm_statistics import NormStatistics, normalised_layout
from .operand_lanes import OperandLanes
from .operand_scale import OperandScale
from .read_loop import ReadLoop
from .row_issue import RowIssue
from .store_fifo import StoreFifo
from .tags import Tags

__all__ = ["RowReader"]


class RowReader(wiring.Component):
    """Executes PASS (its reading half), NORM and STORE in program order; takes and drops every other instruction.

    rows, k_tiles, n_tiles and keys are at least 1. A dropped instruction costs a cycle.

    Golden: ``golden.machine.array_pass``, ``golden.integer.norm``, ``golden.integer.row_scale``,
    ``golden.integer.softmax``.
    Latency: 16 cycles from the ``dispatch`` of a PASS to its first ``row`` (`latency`); `latency_tag` cycles from a row
    to its ``tag``. A NORM with ``summed`` takes ``k_tiles x word_beats + rows x ceil(k_tiles / norm_words)`` cycles
    and `latency_norm` from ``dispatch`` to ``done``; without, ``rows x k_tiles`` cycles and `latency_means` more.
    Throughput: one row per cycle; no cycle is lost between rows, tiles, or passes that may overlap.
    Back-pressure: ``dispatch`` waits until the instruction before is read. A row waits for its tile, for the
    instructions that it depends on, and for room at the row writer: at most `sums_depth` last rows are on their way.

    Parameters
    ----------
    config : MachineConfig
        all sizes; ``trace`` adds the records of NORM

    Members
    -------
    dispatch : In(stream.Signature(dispatch_layout()))
        every instruction but END and EXPERTS
    finished : In(16)
        number of finished instructions
    stored : In(stored_layout())
        newest stored row, for instructions that are ``rowwise``
    tile_ready : In(1)
        the next tile is loaded
    tile_taken : Out(1)
        the row of this cycle makes the next tile the active one
    residual : Out(MemoryRead(residual_bank, word_layout(config))), an array of residual_banks
        residual memory, by bank
    hidden, queue, peaks, sums : Out(MemoryRead)
        hidden memory; queues of the router; tracked peaks; sums of rows, for a NORM with ``summed``
    gain : In(stream.Signature(n_lanes x 8))
        beats of the gains of NORMs
    summed : Out(Flow(row_sum_layout()))
        sums that a NORM finds which is neither ``summed`` nor ``rowwise``
    copy : Out(MemoryWrite(residual_bank, word_layout(config))), an array of residual_banks
        rows that a NORM copies, by bank
    row : Out(Flow(row_layout(config)))
        rows for the array
    tag : Out(Flow(tag_layout(config)))
        one for each row with ``last``, in the same order
    released : In(1)
        the row writer took the sums of a row
    store_command, store : Out(stream.Signature)
        announces a STORE; its words
    done : Out(1)
        a NORM is finished
    activity : Out(Activity)
        what the row reader does in this cycle
    trace : Out(Flow(trace_layout(config)))
        each scale that a NORM finds; silent unless ``config.trace``
    """

    latency = 16

    def __init__(self, config: MachineConfig):
        if not isinstance(config, MachineConfig):
            raise TypeError(f"config must be a MachineConfig, not {config!r}")
        self._config = config
        self._norm_statistics, self._tags = NormStatistics(config), Tags(config)
        self.latency_tag = self._tags.latency
        self.latency_means = Fetch.latency + self._norm_statistics.latency_means
        self.latency_norm = Fetch.latency + OperandLanes.latency_values[0] + self._norm_statistics.latency_norm + 1
        word = word_layout(config)
        super().__init__({
            "dispatch": In(stream.Signature(dispatch_layout())),
            "finished": In(SEQUENCE_BITS),
            "stored": In(stored_layout()),
            "tile_ready": In(1),
            "tile_taken": Out(1),
            "residual": Out(MemoryRead(config.residual_bank, word)).array(config.residual_banks),
            "hidden": Out(MemoryRead(config.hidden_words, word)),
            "queue": Out(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
            "peaks": Out(MemoryRead(PEAK_ENTRIES * config.max_tokens, peak_layout())),
            "gain": In(stream.Signature(8 * config.n_lanes)),
            "sums": Out(MemoryRead(config.max_tokens, signed(ROW_SUM_BITS))),
            "summed": Out(Flow(row_sum_layout())),
            "copy": Out(MemoryWrite(config.residual_bank, word)).array(config.residual_banks),
            "row": Out(Flow(row_layout(config))),
            "tag": Out(Flow(tag_layout(config))),
            "released": In(1),
            "store": Out(stream.Signature(word)),
            "store_command": Out(stream.Signature(store_command_layout())),
            "done": Out(1),
            "activity": Out(Activity),
            "trace": Out(Flow(trace_layout(config))),
        })

    def elaborate(self, platform):
        m, config = Module(), self._config
        m.submodules.read_loop, m.submodules.fetch, m.submodules.gain = ReadLoop(config), Fetch(config), Gain(config)
        m.submodules.scale, m.submodules.lanes = OperandScale(config), OperandLanes(config)
        m.submodules.issue, m.submodules.tags = RowIssue(config), self._tags
        m.submodules.norm, m.submodules.store = self._norm_statistics, StoreFifo(config)
        pipe = Timeline(m)
        self._control(m)
        self._memories(m)
        self._rows(m, pipe)
        self._norm(m, pipe)
        self._activity(m)
        return m

    def _control(self, m: Module) -> None:
        """What the read loop learns from the other units."""
        loop, issue, store = m.submodules.read_loop, m.submodules.issue, m.submodules.store
        wiring.connect(m, wiring.flipped(self.dispatch), loop.dispatch)
        wiring.connect(m, loop.store_command, wiring.flipped(self.store_command))
        m.d.comb += [
            loop.finished.eq(self.finished),
            loop.stored.eq(self.stored),
            loop.row_room.eq(issue.room),
            loop.store_room.eq(store.room),
            loop.busy.eq(m.submodules.fetch.busy),
            loop.gain_loaded.eq(m.submodules.gain.loaded),
            loop.measured.eq(m.submodules.norm.measured),
            loop.norm_done.eq(m.submodules.norm.done),
            self.done.eq(loop.done),
            issue.started.eq(loop.access.valid & (loop.access.payload.purpose == ReadPurpose.PASS)),
            store.started.eq(loop.access.valid & (loop.access.payload.purpose == ReadPurpose.STORE)),
        ]

    def _memories(self, m: Module) -> None:
        """Accesses to the memories; the gain; words of a STORE."""
        loop, fetch, gain, store = m.submodules.read_loop, m.submodules.fetch, m.submodules.gain, m.submodules.store
        wiring.connect(m, loop.access, fetch.access)
        for inner, outer in ((fetch.hidden, self.hidden), (fetch.queue, self.queue), (fetch.peaks, self.peaks),
                             *zip(fetch.residual, self.residual, strict=True),
                             *zip(fetch.copied, self.copy, strict=True)):
            wiring.connect(m, inner, wiring.flipped(outer))
        wiring.connect(m, fetch.gain, gain.read)
        wiring.connect(m, fetch.mean, m.submodules.norm.mean)
        wiring.connect(m, wiring.flipped(self.gain), gain.beats)
        wiring.connect(m, store.o, wiring.flipped(self.store))
        m.d.comb += [
            gain.load.eq(loop.load_gain),
            gain.last_word.eq(loop.last_word),
            fetch.copy.eq(loop.current.instruction.copy),
            fetch.copy_base.eq(loop.current.instruction.destination_base),
            store.word.valid.eq(fetch.word.valid & (fetch.word.payload.purpose == ReadPurpose.STORE)),
            store.word.payload.eq(fetch.word.payload.words[0].data),
        ]

    def _rows(self, m: Module, pipe: Timeline) -> None:
        """From words to rows that enter the array, and their tags."""
        fetch, scale, lanes = m.submodules.fetch, m.submodules.scale, m.submodules.lanes
        issue, tags = m.submodules.issue, m.submodules.tags
        pending, word, ready = issue.pending.payload, fetch.word.payload, OperandLanes.latency
        wiring.connect(m, fetch.row, scale.row)
        wiring.connect(m, fetch.word, lanes.word)
        wiring.connect(m, scale.norm, m.submodules.norm.scale)
        pipe.put(0, **{name: word[name] for name in ("row", "operand", "swap", "operation", "first", "final", "end")})
        m.d.comb += [
            lanes.maximum.eq(scale.maximum),
            lanes.factor.eq(scale.factor),
            issue.pending.valid.eq(lanes.operands.valid),
            pending.operands.eq(lanes.operands.payload),
            *(pending[field].eq(pipe.at(ready, name)) for field, name in (
                ("address", "row"), ("operation", "operation"), ("swap", "swap"), ("last", "final"))),
            pending.exp.eq(pipe.at(ready, "operand") == Operand.EXP),
            issue.tile_ready.eq(self.tile_ready),
            self.tile_taken.eq(issue.tile_taken),
            issue.released.eq(self.released),
        ]
        wiring.connect(m, scale.entry, issue.entry)
        wiring.connect(m, issue.row, wiring.flipped(self.row))
        wiring.connect(m, issue.issued, tags.row)
        wiring.connect(m, tags.tag, wiring.flipped(self.tag))

    def _norm(self, m: Module, pipe: Timeline) -> None:
        """Statistics of a NORM."""
        loop, fetched, norm = m.submodules.read_loop, m.submodules.fetch.word, m.submodules.norm
        stage = OperandLanes.latency_values[0]
        pipe.put(0, reset=True, peaks_valid=fetched.valid & (fetched.payload.purpose == ReadPurpose.PEAKS))
        m.d.comb += [
            norm.current.eq(loop.current),
            norm.start.eq(loop.load_gain),
            norm.access.valid.eq(loop.access.valid),
            norm.access.payload.eq(loop.access.payload),
            norm.word.valid.eq(fetched.valid),
            norm.word.payload.eq(fetched.payload),
            norm.normalised.valid.eq(pipe.at(stage, "peaks_valid")),
            *(norm.normalised.payload[field].eq(pipe.at(stage, field)) for field, _ in normalised_layout()),
            norm.values.eq(m.submodules.lanes.values),
            norm.squares.eq(m.submodules.lanes.squares),
        ]
        for inner, outer in ((norm.sums, self.sums), (norm.summed, self.summed), (norm.trace, self.trace)):
            wiring.connect(m, inner, wiring.flipped(outer))

    def _activity(self, m: Module) -> None:
        """What the counters of the run count this cycle as."""
        loop, issue = m.submodules.read_loop, m.submodules.issue
        with m.If(issue.row.valid):
            m.d.comb += self.activity.eq(Activity.BUSY)
        with m.Elif(loop.norm):
            m.d.comb += self.activity.eq(Activity.WAIT_NORM)
        with m.Elif(issue.wait_tile):
            m.d.comb += self.activity.eq(Activity.WAIT_WEIGHTS)
        with m.Elif(issue.wait_writer):
            m.d.comb += self.activity.eq(Activity.WAIT_WRITER)
        with m.Elif(loop.waiting | issue.filling | loop.reading):
            m.d.comb += self.activity.eq(Activity.WAIT_DRAIN)
        with m.Else():
            m.d.comb += self.activity.eq(Activity.WAIT_PROGRAM)
