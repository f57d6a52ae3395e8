# SPDX-License-Identifier: Apache-2.0
"""From a step to the word it names, and to all that belongs to the word's row."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Operand, Source

from ..interfaces import (
    PEAK_ENTRIES,
    TOKEN_BITS,
    Accumulate,
    Flow,
    MemoryRead,
    MemoryWrite,
    mean_shape,
    peak_layout,
    queue_entry_layout,
    word_layout,
)
from .gain import gain_words
from .sequence import Kind, step_layout
from .timeline import Timeline

__all__ = ["Fetch", "fetched_row_layout", "fetched_word_layout"]


def fetched_row_layout() -> data.StructLayout:
    """The row of a step: ``source`` row read, destination row, gate score, tracked peak."""
    return data.StructLayout({
        "kind": Kind,
        "operand": 2,
        "final": 1,
        "source": TOKEN_BITS,
        "row": TOKEN_BITS,
        "score": 17,
        "peak": peak_layout(),
    })


def fetched_word_layout(config: MachineConfig) -> data.StructLayout:
    """A word with its mean (0 unless it is to be subtracted), its gain, and what shall become of it.

    ``keys``: the lanes below the instruction's number of keys. Other members as in ``step_layout``.
    """
    return data.StructLayout({
        "data": word_layout(config),
        "gain": word_layout(config),
        "mean": mean_shape(),
        "keys": config.k_lanes,
        "kind": Kind,
        "operand": 2,
        "low": 1,
        "row": TOKEN_BITS,
        "first": 1,
        "final": 1,
        "end": 1,
        "swap": 1,
        "operation": Accumulate,
    })


class Fetch(wiring.Component):
    """Reads ``source_base + source row x source_stride + word``; the source row comes from the queue when gathering.

    One step per cycle; the row comes 4 cycles, the word :attr:`LATENCY` cycles after its step; no back-pressure.
    With ``copy``, words that a NORM reads for their peaks go to ``copy_base + row x source_stride + word`` as well.

    Members
    -------
    step : In(Flow(step_layout()))
    copy, copy_base : In(1), In(20), steady from the first step of a NORM until it is finished
    residual, hidden, queue, peaks, mean, gain : Out(MemoryRead)
    written : Out(MemoryWrite), the copy
    row : Out(Flow(fetched_row_layout()))
    word : Out(Flow(fetched_word_layout(config)))
    busy : Out(1), a step has still to read mean or gain
    """

    LATENCY = 6

    def __init__(self, config: MachineConfig):
        self._config = config
        word = word_layout(config)
        super().__init__({
            "step": In(Flow(step_layout())),
            "copy": In(1),
            "copy_base": In(20),
            "residual": Out(MemoryRead(config.residual_words, word)),
            "hidden": Out(MemoryRead(config.hidden_words, word)),
            "queue": Out(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
            "peaks": Out(MemoryRead(PEAK_ENTRIES * config.max_tokens, peak_layout())),
            "mean": Out(MemoryRead(config.max_tokens, mean_shape())),
            "gain": Out(MemoryRead(gain_words(config), word)),
            "written": Out(MemoryWrite(config.residual_words, word)),
            "row": Out(Flow(fetched_row_layout())),
            "word": Out(Flow(fetched_word_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, step, pipe = self._config, self.step.payload, Timeline(m)
        token_bits, lane_bits = exact_log2(config.max_tokens), exact_log2(config.k_lanes)
        pipe.put(0, valid=self.step.valid, **{field: step[field] for field, _ in step_layout()})

        # Stage 0: look the row up in the expert's queue.
        m.d.comb += [
            self.queue.enable.eq(self.step.valid & step.lookup),
            self.queue.address.eq(Cat(step.row[:token_bits], step.expert)),
        ]
        # Stage 1: which row to read, which row to write.
        row, token = pipe.at(1, "row"), self.queue.data.token
        pipe.put(1, from_row=Mux(pipe.at(1, "gather"), token, row), to_row=Mux(pipe.at(1, "scatter"), token, row),
                 score=self.queue.data.score)
        # Stage 2: multiply.
        source = pipe.at(2, "from_row")
        start, place, copy_place, peak = Signal(24), Signal(20), Signal(20), Signal(12)
        m.d.sync += [
            start.eq(source * pipe.at(2, "source_stride")),
            place.eq(pipe.at(2, "source_base") + pipe.at(2, "word")),
            copy_place.eq(self.copy_base + pipe.at(2, "word")),
            peak.eq(pipe.at(2, "source_peak") + source),
        ]
        # Stage 3: add; read the peak.
        address, copy_address = Signal(20), Signal(20)
        m.d.sync += [address.eq(start + place), copy_address.eq(start + copy_place)]
        m.d.comb += [self.peaks.enable.eq(pipe.at(3, "valid")), self.peaks.address.eq(peak)]
        # Stage 4: read the word and the mean; hand out the row.
        from_hidden = pipe.at(4, "source") == Source.HIDDEN
        m.d.comb += [
            self.residual.enable.eq(pipe.at(4, "valid") & ~from_hidden),
            self.residual.address.eq(address),
            self.hidden.enable.eq(pipe.at(4, "valid") & from_hidden),
            self.hidden.address.eq(address),
            self.mean.enable.eq(pipe.at(4, "valid")),
            self.mean.address.eq(pipe.at(4, "from_row")),
            self.row.valid.eq(pipe.at(4, "valid")),
            self.row.payload.kind.eq(pipe.at(4, "kind")),
            self.row.payload.operand.eq(pipe.at(4, "operand")),
            self.row.payload.final.eq(pipe.at(4, "final")),
            self.row.payload.source.eq(pipe.at(4, "from_row")),
            self.row.payload.row.eq(pipe.at(4, "to_row")),
            self.row.payload.score.eq(pipe.at(4, "score")),
            self.row.payload.peak.eq(self.peaks.data),
        ]
        keys, word, whole = pipe.at(4, "keys"), pipe.at(4, "word"), pipe.at(4, "keys")[lane_bits:]
        pipe.put(4, copy_to=copy_address, rest=keys[:lane_bits], below=word < whole, at_end=word == whole,
                 centred=(pipe.at(4, "kind") == Kind.PEAKS) | (
                     (pipe.at(4, "kind") == Kind.PASS) & (pipe.at(4, "operand") == Operand.NORM)))
        # Stage 5: take the word; read the gain.
        value = Signal(word_layout(config), reset_less=True)
        mean = Signal(mean_shape(), reset_less=True)
        lanes = Signal(config.k_lanes, reset_less=True)
        m.d.sync += [
            value.eq(Mux(pipe.at(5, "source") == Source.HIDDEN, self.hidden.data, self.residual.data)),
            mean.eq(Mux(pipe.at(5, "centred"), self.mean.data, 0)),
            *(lanes[lane].eq(pipe.at(5, "below") | (pipe.at(5, "at_end") & (lane < pipe.at(5, "rest"))))
              for lane in range(config.k_lanes)),
        ]
        m.d.comb += [self.gain.enable.eq(pipe.at(5, "valid")), self.gain.address.eq(pipe.at(5, "word"))]
        # Stage 6: hand out the word.
        word = self.word.payload
        m.d.comb += [
            self.word.valid.eq(pipe.at(6, "valid")),
            word.data.eq(value),
            word.gain.eq(self.gain.data),
            word.mean.eq(mean),
            word.keys.eq(lanes),
            *(word[field].eq(pipe.at(6, field))
              for field in ("kind", "operand", "low", "row", "first", "final", "end", "swap", "operation")),
            self.written.enable.eq(pipe.at(6, "valid") & self.copy & (pipe.at(6, "kind") == Kind.PEAKS)),
            self.written.address.eq(pipe.at(6, "copy_to")),
            self.written.data.eq(value),
            self.busy.eq(Cat(pipe.at(stage, "valid") for stage in range(1, 6)).any()),
        ]
        return m
