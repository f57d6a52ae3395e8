# SPDX-License-Identifier: Apache-2.0
"""The row reader: from rows in memory to operands of the array, LayerNorm statistics, rows for the output."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_SUM_BITS
from moevit.spec.isa import Operand
from moevit.spec.trace import TraceKind

from ..interfaces import (
    PEAK_ENTRIES,
    SEQUENCE_BITS,
    Activity,
    Flow,
    MemoryRead,
    MemoryWrite,
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
from .means import Means
from .norm_scale import NormScale
from .operand_lanes import OperandLanes
from .operand_scale import OperandScale
from .read_loop import ReadLoop
from .row_issue import RowIssue
from .store_fifo import StoreFifo
from .tags import Tags

__all__ = ["RowReader"]


class RowReader(wiring.Component):
    """Executes PASS (its reading half), NORM and STORE in program order; takes and drops every other instruction.

    Golden: ``golden.machine.array_pass``, ``golden.integer.norm``, ``row_scale``, ``softmax``; exact.

    A row enters the array every cycle when its tile is ready and the writer has room; no cycle is lost between rows,
    tiles, or passes that may overlap. From an instruction's dispatch to its first row: :attr:`latency` cycles. A tag
    follows its row by ``Tags.latency`` cycles (8 for 8 lanes, 9 for 16 and 32, 10 for 64). From a NORM's dispatch to
    its end, if it is ``summed``: ``k_tiles x word_beats + rows x ceil(k_tiles / norm_words) + 25`` cycles where
    ``k_lanes x norm_words`` is 8, 26 instead of 25 up to 32, 27 up to 128, 28 beyond. If it is not: ``rows x k_tiles +
    12`` cycles more with 8 lanes, 13 instead of 12 with 16 and 32, 14 with 64. An instruction that is dropped costs a
    cycle. rows, k_tiles, n_tiles and keys are at least 1.

    Members
    -------
    dispatch : In(stream), every instruction but END and EXPERTS
    finished : In(16), number of finished instructions
    stored : In(stored_layout()), for instructions that are ``rowwise``
    tile_ready, tile_taken : hand-over of the array's shadow tile; taken in the cycle in which its first row enters
    residual : Out(MemoryRead), by bank
    hidden, queue, peaks, sums : Out(MemoryRead); sums of rows, for a NORM that is ``summed``
    summed : Out(Flow(row_sum_layout())), what a NORM finds that is neither ``summed`` nor ``rowwise``
    gain : In(stream), beats of NORM gains
    copy : Out(MemoryWrite), by bank, rows that a NORM copies
    row : Out(Flow(row_layout(config))), to the array
    tag : Out(Flow(tag_layout(config))), one for each row with ``last``, in the same order
    released : In(1), the row writer took the sums of a row; at most ``config.sums_depth`` are on their way to it
    store_command, store : Out(stream), a STORE and its words
    done : Out(1), a NORM is finished
    activity : Out(Activity)
    trace : Out(Flow(trace_layout(config))), kind NORM; silent unless ``config.trace``
    """

    latency = 16

    def __init__(self, config: MachineConfig):
        if not isinstance(config, MachineConfig):
            raise TypeError(f"config must be a MachineConfig, not {config!r}")
        self._config = config
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
        m = Module()
        config = self._config
        m.submodules.sequence = sequence = ReadLoop(config)
        m.submodules.fetch = fetch = Fetch(config)
        m.submodules.gain = gain = Gain(config)
        m.submodules.scale = scale = OperandScale(config)
        m.submodules.lanes = lanes = OperandLanes(config)
        m.submodules.means = means = Means(config)
        m.submodules.norm_scale = norm_scale = NormScale(config)
        m.submodules.entrance = entrance = RowIssue(config)
        m.submodules.tags = tags = Tags(config)
        m.submodules.store = store = StoreFifo(config)
        current, step, word = sequence.current.instruction, sequence.access.payload, fetch.word.payload

        # What to read.
        wiring.connect(m, wiring.flipped(self.dispatch), sequence.dispatch)
        wiring.connect(m, sequence.store_command, wiring.flipped(self.store_command))
        m.d.comb += [
            sequence.finished.eq(self.finished),
            sequence.stored.eq(self.stored),
            sequence.row_room.eq(entrance.room),
            sequence.store_room.eq(store.room),
            sequence.busy.eq(fetch.busy),
            sequence.gain_loaded.eq(gain.loaded),
            sequence.measured.eq(means.measured),
            sequence.norm_done.eq(norm_scale.done),
            self.done.eq(sequence.done),
            entrance.started.eq(sequence.access.valid & (step.purpose == ReadPurpose.PASS)),
            store.started.eq(sequence.access.valid & (step.purpose == ReadPurpose.STORE)),
        ]
        # Read it.
        wiring.connect(m, sequence.access, fetch.access)
        for inner, outer in ((fetch.hidden, self.hidden), (fetch.queue, self.queue), (fetch.peaks, self.peaks),
                             *zip(fetch.residual, self.residual, strict=True),
                             *zip(fetch.copied, self.copy, strict=True)):
            wiring.connect(m, inner, wiring.flipped(outer))
        wiring.connect(m, fetch.gain, gain.read)
        wiring.connect(m, fetch.mean, means.mean)
        wiring.connect(m, wiring.flipped(self.gain), gain.beats)
        m.d.comb += [
            gain.load.eq(sequence.load_gain),
            gain.last_word.eq(sequence.last_word),
            fetch.copy.eq(current.copy),
            fetch.copy_base.eq(current.destination_base),
        ]
        # Make operands of it.
        wiring.connect(m, fetch.row, scale.row)
        wiring.connect(m, fetch.word, lanes.word)
        wiring.connect(m, scale.norm, norm_scale.read)
        m.d.comb += [lanes.maximum.eq(scale.maximum), lanes.factor.eq(scale.factor)]
        # Let them enter the array, send their tags.
        pipe = Timeline(m)
        pipe.put(0, **{field: word[field] for field in (
            "row", "operand", "swap", "operation", "first", "final", "end")})
        waiting = entrance.waiting.payload
        m.d.comb += [
            entrance.waiting.valid.eq(lanes.operands.valid),
            waiting.operands.eq(lanes.operands.payload),
            waiting.address.eq(pipe.at(OperandLanes.latency, "row")),
            waiting.operation.eq(pipe.at(OperandLanes.latency, "operation")),
            waiting.swap.eq(pipe.at(OperandLanes.latency, "swap")),
            waiting.last.eq(pipe.at(OperandLanes.latency, "final")),
            waiting.exp.eq(pipe.at(OperandLanes.latency, "operand") == Operand.EXP),
            entrance.tile_ready.eq(self.tile_ready),
            self.tile_taken.eq(entrance.tile_taken),
            entrance.released.eq(self.released),
        ]
        wiring.connect(m, scale.entry, entrance.entry)
        wiring.connect(m, entrance.row, wiring.flipped(self.row))
        wiring.connect(m, entrance.entering, tags.row)
        wiring.connect(m, tags.tag, wiring.flipped(self.tag))
        # Take statistics of it. Constants stay as they are for a NORM, and the instruction is far from what they go to.
        inverse_dim, dim, epsilon = (
            Signal.like(current[name], name=name, reset_less=True) for name in ("inverse_dim", "dim", "epsilon"))
        m.d.sync += [inverse_dim.eq(current.inverse_dim), dim.eq(current.dim), epsilon.eq(current.epsilon)]
        pipe.put(0, reset=True, peaks_valid=fetch.word.valid & (word.purpose == ReadPurpose.PEAKS))
        m.d.comb += [
            means.valid.eq(fetch.word.valid & (word.purpose == ReadPurpose.MEANS)),
            means.first.eq(word.first),
            means.final.eq(word.final),
            means.end.eq(word.end),
            means.row.eq(word.row),
            means.word.eq(word.words[0].data),
            means.known.valid.eq(sequence.access.valid & current.summed),
            means.known.payload.eq(step.row),
            means.inverse_dim.eq(inverse_dim),
            means.restart.eq(sequence.load_gain),
            self.summed.valid.eq(means.found.valid & ~current.rowwise),
            self.summed.payload.eq(means.found.payload),
            norm_scale.valid.eq(pipe.at(OperandLanes.latency_values[0], "peaks_valid")),
            norm_scale.row.eq(pipe.at(OperandLanes.latency_values[0], "row")),
            norm_scale.first.eq(pipe.at(OperandLanes.latency_values[0], "first")),
            norm_scale.final.eq(pipe.at(OperandLanes.latency_values[0], "final")),
            norm_scale.end.eq(pipe.at(OperandLanes.latency_values[0], "end")),
            norm_scale.values.eq(lanes.values),
            norm_scale.squares.eq(lanes.squares),
            norm_scale.dim.eq(dim),
            norm_scale.epsilon.eq(epsilon),
        ]
        wiring.connect(m, norm_scale.means, means.read)
        wiring.connect(m, means.sums, wiring.flipped(self.sums))
        # Send it out.
        m.d.comb += [
            store.word.valid.eq(fetch.word.valid & (word.purpose == ReadPurpose.STORE)),
            store.word.payload.eq(word.words[0].data),
        ]
        wiring.connect(m, store.o, wiring.flipped(self.store))

        with m.If(entrance.row.valid):
            m.d.comb += self.activity.eq(Activity.BUSY)
        with m.Elif(sequence.norm):
            m.d.comb += self.activity.eq(Activity.WAIT_NORM)
        with m.Elif(entrance.wait_tile):
            m.d.comb += self.activity.eq(Activity.WAIT_WEIGHTS)
        with m.Elif(entrance.wait_writer):
            m.d.comb += self.activity.eq(Activity.WAIT_WRITER)
        with m.Elif(sequence.waiting | entrance.filling | sequence.reading):
            m.d.comb += self.activity.eq(Activity.WAIT_DRAIN)
        with m.Else():
            m.d.comb += self.activity.eq(Activity.WAIT_PROGRAM)

        if config.trace:
            stored, trace = norm_scale.stored.payload, self.trace.payload
            found, row_scale = stored.norm.peak, stored.norm.scale
            m.d.comb += [
                self.trace.valid.eq(norm_scale.stored.valid),
                trace.kind.eq(TraceKind.NORM),
                trace.sequence.eq(sequence.current.sequence),
                trace.address.eq(stored.row),
                trace.data[0].eq(stored.mean),
                trace.data[1].eq(Cat(found.fraction, 1)),
                trace.data[2].eq(found.e),
                trace.data[3].eq(row_scale.mantissa),
                trace.data[4].eq(row_scale.exponent),
            ]
        return m
