# SPDX-License-Identifier: Apache-2.0
"""From a step to the word it names, and to all that belongs to the word's row."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Operand, RowSource

from ..interfaces import (
    PEAK_ENTRIES,
    TOKEN_BITS,
    Accumulate,
    Flow,
    MemoryRead,
    MemoryWrite,
    mean_shape,
    peak_layout,
    pick,
    queue_entry_layout,
    word_layout,
)
from ..plumbing.timeline import Timeline
from .gain import gain_read
from .read_loop import ReadPurpose, step_layout

__all__ = ["Fetch", "fetched_row_layout", "fetched_word_layout"]


def fetched_row_layout() -> data.StructLayout:
    """The row of a step: ``source`` row read, destination row, gate score, tracked peak."""
    return data.StructLayout({
        "kind": ReadPurpose,
        "operand": 2,
        "final": 1,
        "source": TOKEN_BITS,
        "row": TOKEN_BITS,
        "score": 17,
        "peak": peak_layout(),
    })


def fetched_word_layout(config: MachineConfig) -> data.StructLayout:
    """A word with its gain, and those behind it, 0 unless they were read; the mean (0 unless it is to be subtracted),
    and what shall become of them.

    ``keys``: the lanes below the instruction's number of keys. Other members as in ``step_layout``.
    """
    return data.StructLayout({
        "words": data.ArrayLayout(
            data.StructLayout({"data": word_layout(config), "gain": word_layout(config)}), config.norm_words),
        "mean": mean_shape(),
        "keys": config.k_lanes,
        "kind": ReadPurpose,
        "operand": 2,
        "low": 1,
        "row": TOKEN_BITS,
        "first": 1,
        "final": 1,
        "end": 1,
        "swap": 1,
        "operation": Accumulate,
    })


def _turned(banks: list, first: Value) -> list:
    """From words by bank to words in order, the first of which is in bank ``first``; also back, with ``-first``."""
    return [pick(banks[at:] + banks[:at], first) for at in range(len(banks))]


class Fetch(wiring.Component):
    """Reads ``source_base + source row x source_stride + word``, and the words behind it that have a bit in ``more``:
    not in the hidden memory then. The source row comes from the queue when gathering.

    One step per cycle; the row comes 4 cycles, the word :attr:`latency` cycles after its step; no back-pressure.
    With ``copy``, words that a NORM reads for their peaks go to ``copy_base + row x source_stride + word`` as well.

    Members
    -------
    step : In(Flow(step_layout()))
    copy, copy_base : In(1), In(20), steady from the first step of a NORM until it is finished
    residual : Out(MemoryRead), by bank
    hidden, queue, peaks, mean, gain : Out(MemoryRead)
    written : Out(MemoryWrite), the copy, by bank
    row : Out(Flow(fetched_row_layout()))
    word : Out(Flow(fetched_word_layout(config)))
    busy : Out(1), a step has still to read mean or gain
    """

    latency = 6

    def __init__(self, config: MachineConfig):
        self._config = config
        word = word_layout(config)
        super().__init__({
            "step": In(Flow(step_layout())),
            "copy": In(1),
            "copy_base": In(20),
            "residual": Out(MemoryRead(config.residual_bank, word)).array(config.residual_banks),
            "hidden": Out(MemoryRead(config.hidden_words, word)),
            "queue": Out(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
            "peaks": Out(MemoryRead(PEAK_ENTRIES * config.max_tokens, peak_layout())),
            "mean": Out(MemoryRead(config.max_tokens, mean_shape())),
            "gain": Out(gain_read(config)),
            "written": Out(MemoryWrite(config.residual_bank, word)).array(config.residual_banks),
            "row": Out(Flow(fetched_row_layout())),
            "word": Out(Flow(fetched_word_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, step, pipe = self._config, self.step.payload, Timeline(m)
        token_bits, lane_bits = exact_log2(config.max_tokens), exact_log2(config.k_lanes)
        banks, bank_bits = range(config.residual_banks), exact_log2(config.residual_banks)
        behind = range(1, config.norm_words)
        absent = [0] * (config.residual_banks - config.norm_words)
        pipe.put(0, reset=True, valid=self.step.valid)
        pipe.put(0, **{field: step[field] for field, _ in step_layout()})

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
        # Stage 3: add; find the words' place in each bank; read the peak.
        address, copy_address = Signal(20), Signal(20)
        m.d.sync += [address.eq(start + place), copy_address.eq(start + copy_place)]
        places, copy_places = ([Signal(20 - bank_bits, name=f"{name}_{bank}") for bank in banks]
                               for name in ("place", "copy_place"))
        for bank in banks:
            up = banks[-1] - bank
            m.d.sync += [places[bank].eq((start + place + up) >> bank_bits),
                         copy_places[bank].eq((start + copy_place + up) >> bank_bits)]
        m.d.comb += [self.peaks.enable.eq(pipe.at(3, "valid")), self.peaks.address.eq(peak)]
        # Stage 4: read the word and the mean; hand out the row.
        from_hidden = pipe.at(4, "source") == RowSource.HIDDEN
        bits = max(bank_bits, 1)  # a signal without any is no Verilog
        pipe.put(4, bank=address[:bits], copy_back=(-copy_address)[:bits])
        asked = _turned([1, *pipe.at(4, "more")[:len(behind)], *absent], (-address)[:bits])
        for read, place, own in zip(self.residual, places, asked, strict=True):
            m.d.comb += [read.enable.eq(pipe.at(4, "valid") & ~from_hidden & own), read.address.eq(place)]
        m.d.comb += [
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
        pipe.put(4, rest=keys[:lane_bits], below=word < whole, at_end=word == whole,
                 **{f"copy_place_{bank}": copy_places[bank] for bank in banks},
                 centred=(pipe.at(4, "kind") == ReadPurpose.PEAKS) | (
                     (pipe.at(4, "kind") == ReadPurpose.PASS) & (pipe.at(4, "operand") == Operand.NORM)))
        # Stage 5: take the words; read the gain.
        values = [Signal(word_layout(config), name=f"value_{index}", reset_less=True)
                  for index in range(config.norm_words)]
        mean = Signal(mean_shape(), reset_less=True)
        lanes = Signal(config.k_lanes, reset_less=True)
        residual = _turned([read.data for read in self.residual], pipe.at(5, "bank"))
        m.d.sync += [
            values[0].eq(Mux(pipe.at(5, "source") == RowSource.HIDDEN, self.hidden.data, residual[0])),
            *(values[index].eq(Mux(pipe.at(5, "more")[index - 1], residual[index], 0)) for index in behind),
            mean.eq(Mux(pipe.at(5, "centred"), self.mean.data, 0)),
            *(lanes[lane].eq(pipe.at(5, "below") | (pipe.at(5, "at_end") & (lane < pipe.at(5, "rest"))))
              for lane in range(config.k_lanes)),
        ]
        m.d.comb += [self.gain.enable.eq(pipe.at(5, "valid")), self.gain.address.eq(pipe.at(5, "gain_address"))]
        # Stage 6: hand out the words.
        word, more = self.word.payload, pipe.at(6, "more")
        gains = [pick(list(self.gain.data), pipe.at(6, "gain_place")),
                 *(Mux(more[index - 1], self.gain.data[index], 0) for index in behind)]
        for each, value, gain in zip(word.words, values, gains, strict=True):
            m.d.comb += [each.data.eq(value), each.gain.eq(gain)]
        copies = pipe.at(6, "valid") & self.copy & (pipe.at(6, "kind") == ReadPurpose.PEAKS)
        enables = _turned([1, *more[:len(behind)], *absent], pipe.at(6, "copy_back"))
        copied = _turned([*values, *absent], pipe.at(6, "copy_back"))
        for bank, written in enumerate(self.written):
            m.d.comb += [
                written.enable.eq(copies & enables[bank]),
                written.address.eq(pipe.at(6, f"copy_place_{bank}")),
                written.data.eq(copied[bank]),
            ]
        m.d.comb += [
            self.word.valid.eq(pipe.at(6, "valid")),
            word.mean.eq(mean),
            word.keys.eq(lanes),
            *(word[field].eq(pipe.at(6, field))
              for field in ("kind", "operand", "low", "row", "first", "final", "end", "swap", "operation")),
            self.busy.eq(Cat(pipe.at(stage, "valid") for stage in range(1, 6)).any()),
        ]
        return m
