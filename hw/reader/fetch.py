# SPDX-License-Identifier: Apache-2.0
"""Reads the words of an access, and all that belongs to their row."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Operand, RowSource

from ..interfaces import Flow, MemoryRead, MemoryWrite, pick
from ..layouts import PEAK_ENTRIES, mean_shape, peak_layout, queue_entry_layout, word_layout
from ..plumbing.timeline import Timeline
from .access import ReadPurpose, access_layout, fetched_row_layout, fetched_word_layout
from .gain import gain_read

__all__ = ["Fetch"]


def _rotated(values: list, first: Value) -> list:
    """``values`` from index ``first`` on, then those before it."""
    return [pick(values[at:] + values[:at], first) for at in range(len(values))]


class Fetch(wiring.Component):
    """Reads the words of an access, the gain, the row's mean, its peak and its entry of the expert's queue.

    ``address = source_base + source row x source_stride + word``. With ``gather`` the source row is the token of the
    queue's entry. With ``scatter`` the destination row is this token. Otherwise both are ``row``. Bit i of
    ``following_mask`` asks for the word at ``address + 1 + i`` too, in the residual memory only. With ``copy``, words
    that are read for peaks are also written, to ``copy_base + source row x source_stride + word`` onwards.

    Latency: 6 cycles from ``access`` to ``word`` and ``copied`` (`latency`); 4 cycles from ``access`` to ``row``
    (`latency_row`).
    Throughput: one access per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        sizes of the memories, number of residual banks

    Members
    -------
    access : In(Flow(access_layout()))
        what to read
    copy : In(1)
        copy the rows of a NORM; steady from its first access until it is finished
    copy_base : In(20)
        address of the copy; steady likewise
    residual : Out(MemoryRead(residual_bank, word_layout(config))), an array of residual_banks
        residual memory, by bank
    hidden : Out(MemoryRead(hidden_words, word_layout(config)))
        hidden memory
    queue : Out(MemoryRead(max_experts x max_tokens, queue_entry_layout()))
        queues of the router
    peaks : Out(MemoryRead(4 x max_tokens, peak_layout()))
        tracked peaks
    mean : Out(MemoryRead(max_tokens, mean_shape()))
        means of rows
    gain : Out(gain_read(config))
        gain of a NORM
    copied : Out(MemoryWrite(residual_bank, word_layout(config))), an array of residual_banks
        the copy, by bank
    row : Out(Flow(fetched_row_layout()))
        the row of the access
    word : Out(Flow(fetched_word_layout(config)))
        the words of the access
    busy : Out(1)
        an access has still to read mean or gain
    """

    latency = 6
    latency_row = 4

    def __init__(self, config: MachineConfig):
        self._config = config
        word = word_layout(config)
        super().__init__({
            "access": In(Flow(access_layout())),
            "copy": In(1),
            "copy_base": In(20),
            "residual": Out(MemoryRead(config.residual_bank, word)).array(config.residual_banks),
            "hidden": Out(MemoryRead(config.hidden_words, word)),
            "queue": Out(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
            "peaks": Out(MemoryRead(PEAK_ENTRIES * config.max_tokens, peak_layout())),
            "mean": Out(MemoryRead(config.max_tokens, mean_shape())),
            "gain": Out(gain_read(config)),
            "copied": Out(MemoryWrite(config.residual_bank, word)).array(config.residual_banks),
            "row": Out(Flow(fetched_row_layout())),
            "word": Out(Flow(fetched_word_layout(config))),
            "busy": Out(1),
        })
        self._following = range(1, config.norm_words)
        self._unread_banks = [0] * (config.residual_banks - config.norm_words)

    def elaborate(self, platform):
        m = Module()
        access, pipe = self.access.payload, Timeline(m)
        pipe.put(0, reset=True, valid=self.access.valid)
        pipe.put(0, **{field: access[field] for field, _ in access_layout()})
        self._find_rows(m, pipe)
        self._find_addresses(m, pipe)
        self._read_words(m, pipe)
        self._hand_out_row(m, pipe)
        self._take_words(m, pipe)
        self._hand_out_words(m, pipe)
        self._write_copy(m, pipe)
        m.d.comb += self.busy.eq(Cat(pipe.at(stage, "valid") for stage in range(1, self.latency)).any())
        return m

    def _find_rows(self, m: Module, pipe: Timeline) -> None:
        """Stages 0 and 1: look the row up in the expert's queue; find the source row and the destination row."""
        access, token_bits = self.access.payload, exact_log2(self._config.max_tokens)
        m.d.comb += [
            self.queue.enable.eq(self.access.valid & access.queue_lookup),
            self.queue.address.eq(Cat(access.row[:token_bits], access.expert)),
        ]
        row, token = pipe.at(1, "row"), self.queue.data.token
        pipe.put(1, source_row=Mux(pipe.at(1, "gather"), token, row),
                 destination_row=Mux(pipe.at(1, "scatter"), token, row), score=self.queue.data.score)

    def _find_addresses(self, m: Module, pipe: Timeline) -> None:
        """Stage 2: multiply. Stage 3: add, also for each bank; read the peak."""
        config, source_row = self._config, pipe.at(2, "source_row")
        row_offset, base, copy_base, peak = Signal(24), Signal(20), Signal(20), Signal(12)
        m.d.sync += [
            row_offset.eq(source_row * pipe.at(2, "source_stride")),
            base.eq(pipe.at(2, "source_base") + pipe.at(2, "word")),
            copy_base.eq(self.copy_base + pipe.at(2, "word")),
            peak.eq(pipe.at(2, "source_peak") + source_row),
        ]
        address, copy_address = Signal(20), Signal(20)
        m.d.sync += [address.eq(row_offset + base), copy_address.eq(row_offset + copy_base)]
        bank_bits = exact_log2(config.residual_banks)
        for bank in range(config.residual_banks):
            before = config.residual_banks - 1 - bank  # a bank's word is the first one at or behind `address`
            for name, start in (("bank_address", base), ("copy_bank_address", copy_base)):
                in_bank = Signal(20 - bank_bits, name=f"{name}_{bank}")
                m.d.sync += in_bank.eq((row_offset + start + before) >> bank_bits)
                pipe.put(4, **{f"{name}_{bank}": in_bank})
        m.d.comb += [self.peaks.enable.eq(pipe.at(3, "valid")), self.peaks.address.eq(peak)]
        bits = max(bank_bits, 1)  # Verilog has no signals without bits
        pipe.put(4, address=address, first_bank=address[:bits], words_to_banks=(-address)[:bits],
                 copy_words_to_banks=(-copy_address)[:bits])

    def _read_words(self, m: Module, pipe: Timeline) -> None:
        """Stage 4: read the words and the mean."""
        from_hidden, valid = pipe.at(4, "source") == RowSource.HIDDEN, pipe.at(4, "valid")
        words_read = [1, *pipe.at(4, "following_mask")[:len(self._following)], *self._unread_banks]
        banks_read = _rotated(words_read, pipe.at(4, "words_to_banks"))
        for bank, read in enumerate(self.residual):
            m.d.comb += [
                read.enable.eq(valid & ~from_hidden & banks_read[bank]),
                read.address.eq(pipe.at(4, f"bank_address_{bank}")),
            ]
        m.d.comb += [
            self.hidden.enable.eq(valid & from_hidden),
            self.hidden.address.eq(pipe.at(4, "address")),
            self.mean.enable.eq(valid),
            self.mean.address.eq(pipe.at(4, "source_row")),
        ]

    def _hand_out_row(self, m: Module, pipe: Timeline) -> None:
        """Stage 4: all that is known of the row."""
        stage, row = self.latency_row, self.row.payload
        m.d.comb += [
            self.row.valid.eq(pipe.at(stage, "valid")),
            *(row[field].eq(pipe.at(stage, field))
              for field in ("purpose", "operand", "final", "source_row", "destination_row", "score")),
            row.peak.eq(self.peaks.data),
        ]

    def _take_words(self, m: Module, pipe: Timeline) -> None:
        """Stage 5: take the words and the mean, find the keys' lanes, read the gain."""
        config, lane_bits = self._config, exact_log2(self._config.k_lanes)
        keys, word, operand, purpose = (pipe.at(4, field) for field in ("keys", "word", "operand", "purpose"))
        whole_words, lanes_left = keys[lane_bits:], keys[:lane_bits]
        pipe.put(4, lanes_left=lanes_left, whole_word=word < whole_words, partial_word=word == whole_words,
                 centred=(purpose == ReadPurpose.PEAKS) | ((purpose == ReadPurpose.PASS) & (operand == Operand.NORM)))

        words = [Signal(word_layout(config), name=f"word_{index}", reset_less=True)
                 for index in range(config.norm_words)]
        mean, key_mask = Signal(mean_shape(), reset_less=True), Signal(config.k_lanes, reset_less=True)
        residual = _rotated([read.data for read in self.residual], pipe.at(5, "first_bank"))
        m.d.sync += [
            words[0].eq(Mux(pipe.at(5, "source") == RowSource.HIDDEN, self.hidden.data, residual[0])),
            *(words[index].eq(Mux(pipe.at(5, "following_mask")[index - 1], residual[index], 0))
              for index in self._following),
            mean.eq(Mux(pipe.at(5, "centred"), self.mean.data, 0)),
            *(key_mask[lane].eq(pipe.at(5, "whole_word") | (pipe.at(5, "partial_word") & (
                lane < pipe.at(5, "lanes_left")))) for lane in range(config.k_lanes)),
        ]
        m.d.comb += [self.gain.enable.eq(pipe.at(5, "valid")), self.gain.address.eq(pipe.at(5, "gain_address"))]
        pipe.put(6, mean=mean, key_mask=key_mask, **{f"word_{index}": word for index, word in enumerate(words)})

    def _hand_out_words(self, m: Module, pipe: Timeline) -> None:
        """Stage 6: the words and their gains, and what becomes of them."""
        word, following_mask = self.word.payload, pipe.at(6, "following_mask")
        gains = [pick(list(self.gain.data), pipe.at(6, "gain_offset")),
                 *(Mux(following_mask[index - 1], self.gain.data[index], 0) for index in self._following)]
        for index, (read, gain) in enumerate(zip(word.words, gains, strict=True)):
            m.d.comb += [read.data.eq(pipe.at(6, f"word_{index}")), read.gain.eq(gain)]
        m.d.comb += [
            self.word.valid.eq(pipe.at(6, "valid")),
            *(word[field].eq(pipe.at(6, field)) for field in (
                "mean", "key_mask", "purpose", "operand", "low_digit", "row", "first", "final", "end", "swap",
                "operation")),
        ]

    def _write_copy(self, m: Module, pipe: Timeline) -> None:
        """Stage 6: the words of a NORM that copies its rows."""
        copies = pipe.at(6, "valid") & self.copy & (pipe.at(6, "purpose") == ReadPurpose.PEAKS)
        rotation = pipe.at(6, "copy_words_to_banks")
        words = [pipe.at(6, f"word_{index}") for index in range(self._config.norm_words)]
        written = [1, *pipe.at(6, "following_mask")[:len(self._following)], *self._unread_banks]
        enables, copied = _rotated(written, rotation), _rotated([*words, *self._unread_banks], rotation)
        for bank, port in enumerate(self.copied):
            m.d.comb += [
                port.enable.eq(copies & enables[bank]),
                port.address.eq(pipe.at(6, f"copy_bank_address_{bank}")),
                port.data.eq(copied[bank]),
            ]
