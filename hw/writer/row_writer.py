# SPDX-License-Identifier: Apache-2.0
"""The row writer: from finished sums to stored rows."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_SUM_BITS
from moevit.spec.trace import TraceKind

from ..interfaces import Flow, MemoryRead, MemoryWrite
from ..layouts import (
    PEAK_ENTRIES,
    SEQUENCE_BITS,
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
from .address import AddressGenerator
from .columns import ColumnStore
from .epilogue import Epilogue
from .gate_logits import ROUTING_FIELDS, GateLogits
from .intake import Intake
from .sum_scale import SumScale
from .tracking import Tracking

__all__ = ["RowWriter"]


class RowWriter(wiring.Component):
    """Scales finished sums, adds bias and residual, applies activation and gate score, saturates, stores.

    It also keeps the peaks of rows and the sums of residual rows. A PASS into the residual memory starts when all
    earlier residual words are written. It writes each word once. Three multipliers per lane, one for the address.

    Golden: ``golden.integer.row_writer.write_rows``, ``golden.integer.row_writer.gate_logits``.
    Latency: `latency` cycles from a row's ``sums`` to the write of its first word (21); `latency_done` from the last
    ``sums`` of a pass to ``done``, one more if they are two words; `latency_logits` from a token's ``sums`` to its
    ``logits`` (15).
    Throughput: one word per cycle, also from row to row, n-tile to n-tile and pass to pass.
    Back-pressure: ``dispatch`` waits for the pass before, ``columns`` for a slot. ``sums`` and ``tag`` cannot wait:
    their sender has at most ``sums_depth`` rows under way that were not ``released``.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``, ``n_lanes``, ``sums_depth``, sizes of the memories, ``trace``

    Members
    -------
    dispatch : In(stream.Signature(dispatch_layout()))
        every instruction; the row writer uses those that are a PASS
    columns : In(stream.Signature(8 x n_lanes))
        4 beats of column parameters per n-tile of a PASS that is not ``constant``
    sums : In(Flow(sums_layout(config)))
        accumulators, per n-tile and row
    tag : In(Flow(tag_layout(config)))
        one for each ``sums``, in the same order
    released : Out(1)
        pulse: a row has left the FIFO of sums
    residual_read : Out(MemoryRead(residual_words, word_layout(config)))
        old words of the residual memory
    residual : Out(MemoryWrite(residual_words, word_layout(config)))
        words to store
    hidden : Out(MemoryWrite(hidden_words, word_layout(config)))
        words to store
    kv : Out(MemoryWrite(kv_words, n_lanes x s8))
        keys and values to store; n_lanes / k_lanes granules
    peaks : In(MemoryRead(4 x max_tokens, peak_layout()))
        the peak table, for the row reader
    row_sums : In(MemoryRead(max_tokens, signed(27)))
        sums of residual rows, for the row reader
    summed : In(Flow(row_sum_layout()))
        a row's sum that a NORM found; only while no residual word is under way
    logits : Out(stream.Signature(logits_layout(config)))
        gate logits for the router
    sequence : Out(16)
        number of the instruction of ``logits`` (0 unless the configuration traces)
    saturated : Out(range(k_lanes + 1))
        values of an earlier word that were clipped; those of a pass are complete with its ``done``
    done : Out(1)
        pulse, one per PASS that does not go to the router: all is stored, and a read in the next cycle sees it
    stored : Out(stored_layout())
        the newest stored row; it follows its row one cycle later than ``done`` follows the last row
    trace : Out(Flow(trace_layout(config)))
        a record per stored word (never valid unless the configuration traces)
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._scale, self._epilogue, self._tracking = SumScale(config), Epilogue(config), Tracking(config)
        #: Stages in which a word is scaled and in which it is stored.
        self._scaled = 1 + self._scale.latency
        self._stored = self._scaled + self._epilogue.latency
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
    def latency(self) -> int:
        """Cycles from a row's ``sums`` to the write of its first word."""
        return Intake.latency + self._stored

    @property
    def latency_done(self) -> int:
        """Cycles from the last ``sums`` of a pass to ``done``, one more if they are two words."""
        return Intake.latency + self._stored + self._tracking.latency

    @property
    def latency_logits(self) -> int:
        """Cycles from a token's ``sums`` to its ``logits``."""
        return Intake.latency + self._scaled + GateLogits.latency

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        m.submodules.gate = gate = GateLogits(self._config)
        intake = Intake(m, self, gate, self._config, self._stored)
        intake.put(line)
        self._scaling(m, line, intake.columns)
        self._logits(m, line, gate)
        self._finish(m, line)
        self._store(m, line)
        if self._config.trace:
            self._record(m, line)
        self._tracking.build(m, self, line, self._epilogue, self._stored)
        return m

    def _scaling(self, m: Module, line: Timeline, columns: ColumnStore) -> None:
        """Stage 1: the column parameters have come; scale."""
        m.submodules.scale = scale = self._scale
        instruction = line.at(1, "instruction")
        line.put(1, **{name: instruction[name] for name in (
            "activation", "saturation", "peak", "columns", *ROUTING_FIELDS)})
        m.d.comb += [
            scale.sums.eq(line.at(1, "sums")),
            scale.scale.eq(line.at(1, "scale")),
            scale.shift.eq(instruction.shift),
            scale.columns.eq(columns.o),
            scale.constant.eq(instruction.constant),
            scale.constant_scale.eq(instruction.constant_scale),
            scale.gate.eq(line.at(1, "valid_gate")),
            scale.digits.eq(instruction.digits),
            scale.high.eq(line.at(1, "high")),
        ]

    def _logits(self, m: Module, line: Timeline, gate: GateLogits) -> None:
        """Scaled words of a gate go to the router."""
        scale, at = self._scale, self._scaled
        m.d.comb += [
            *(gate.values[expert].eq(scale.o[expert]) for expert in range(self._config.max_experts)),
            *(gate.bias[expert].eq(scale.bias[expert]) for expert in range(self._config.max_experts)),
            gate.token.experts.eq(line.at(at, "columns")),
            *(gate.token[name].eq(line.at(at, name)) for name in ("first", "last", "sequence", *ROUTING_FIELDS)),
            gate.valid.eq(line.at(at, "valid_gate")),
            self.sequence.eq(gate.sequence),
        ]
        connect(m, gate.logits, flipped(self.logits))

    def _finish(self, m: Module, line: Timeline) -> None:
        """Scaled words become words to store. The old residual word is read two cycles before it is added."""
        m.submodules.epilogue = epilogue = self._epilogue
        names = "activation", "score", "lanes", "saturation"
        m.d.comb += [
            epilogue.i.eq(self._scale.o),
            *(getattr(epilogue, name).eq(line.at(self._scaled, name)) for name in names),
            epilogue.residual_add.eq(line.at(self._scaled, "valid_residual")),
        ]
        m.submodules.address = address = AddressGenerator(self._config)
        m.d.comb += [getattr(address, name).eq(line.at(1, name)) for name in ("instruction", "row", "word")]
        line.put(1 + address.latency, address=address.address, part=address.part)
        read = self._scaled + epilogue.residual_stage - 2
        old = Signal(word_layout(self._config), reset_less=True)  # shortens the path out of the memory
        m.d.sync += old.eq(self.residual_read.data)
        line.put(read + 2, old=old)
        m.d.comb += [
            self.residual_read.enable.eq(line.at(read, "valid_residual")),
            self.residual_read.address.eq(line.at(read, "address")),
            epilogue.residual.eq(old),
        ]

    def _store(self, m: Module, line: Timeline) -> None:
        """The last stage: the memories."""
        config, stored, word = self._config, self._stored, self._epilogue.o
        address, part = line.at(stored, "address"), line.at(stored, "part")
        for name in ("residual", "hidden"):
            port = getattr(self, name)
            m.d.comb += [port.enable.eq(line.at(stored, f"valid_{name}")), port.address.eq(address), port.data.eq(word)]
        m.d.comb += [
            self.kv.enable.eq(line.at(stored, "valid_kv") << (part if config.ratio == 2 else 0)),
            self.kv.address.eq(address),
            *(self.kv.data[lane].eq(word[lane % config.k_lanes]) for lane in range(config.n_lanes)),
        ]

    def _record(self, m: Module, line: Timeline) -> None:
        """A record of the trace for each stored word."""
        kinds = {"residual": TraceKind.RESIDUAL, "hidden": TraceKind.HIDDEN, "kv": TraceKind.KV}
        valid = {kind: line.at(self._stored, f"valid_{name}") for name, kind in kinds.items()}
        address, record = line.at(self._stored, "address"), self.trace.payload
        m.d.comb += [
            self.trace.valid.eq(Cat(valid.values()).any()),
            record.sequence.eq(line.at(self._stored, "sequence")),
            record.address.eq(address),
            record.data.eq(self._epilogue.o),
        ]
        for kind, kind_valid in valid.items():
            with m.If(kind_valid):
                m.d.comb += record.kind.eq(kind)
                if kind == TraceKind.KV and self._config.ratio == 2:
                    m.d.comb += record.address.eq(Cat(line.at(self._stored, "part"), address))
