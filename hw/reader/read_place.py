# SPDX-License-Identifier: Apache-2.0
"""The loop counters of the read loop, and the access that belongs to their values."""

from amaranth import *
from amaranth.lib import data

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..layouts import TOKEN_BITS, Accumulate
from .access import WORD_BITS, ReadPurpose

__all__ = ["ReadPlace"]


class ReadPlace:
    """Where the loops over the instruction ``current`` are, and which of them are at their end.

    A sweep reads all words of all rows: a PASS with ``digits`` takes `gate_sweeps`, a NORM without sums takes 2.
    """

    def __init__(self, config: MachineConfig, current: data.View):
        self._config, self._current = config, current
        self.is_pass, self.is_norm = (current.instruction.opcode == code for code in (Opcode.PASS, Opcode.NORM))
        self.row, self.sweep, self.n_tile = Signal(TOKEN_BITS), Signal(2), Signal(12)
        self.word, self.words_left = Signal(WORD_BITS), Signal(WORD_BITS)  # words_left counts from `word` on
        self.gain_address, self.gain_offset = Signal(WORD_BITS), Signal(2)
        self.last_row, self.last_tile = Signal(TOKEN_BITS), Signal(12)
        self.row_is_last, self.word_is_last, self.sweep_is_last, self.tile_is_last = (
            Signal(name=f"{loop}_is_last") for loop in ("row", "word", "sweep", "tile"))
        self.end = Signal()  #: last access of the instruction
        self.several_words = Signal()  #: an access reads up to `norm_words` words

    def count(self, m: Module, issued: Value) -> None:
        """Advances the counters with each access that is ``issued``.

        Rows are the inner loop of a PASS, words that of the other instructions.
        """
        instruction, norm_words = self._current.instruction, self._config.norm_words
        is_pass, is_norm = self.is_pass, self.is_norm
        words_read = Mux(self.several_words, norm_words, 1)
        m.d.comb += [
            self.row_is_last.eq(self.row == self.last_row),
            self.several_words.eq(is_norm & self.sweep_is_last),
            self.word_is_last.eq(self.words_left <= words_read),
            self.sweep_is_last.eq(self.sweep == Mux(is_pass, Mux(
                instruction.digits, self._config.gate_sweeps - 1, 0), is_norm & ~instruction.summed)),
            self.tile_is_last.eq(~is_pass | (self.n_tile == self.last_tile)),
            self.end.eq(self.row_is_last & self.word_is_last & self.sweep_is_last & self.tile_is_last),
        ]
        with m.If(issued):
            with m.If(Mux(is_pass, 1, self.word_is_last)):
                m.d.sync += self.row.eq(Mux(self.row_is_last, 0, self.row + 1))
            with m.If(Mux(is_pass, self.row_is_last, 1)):
                m.d.sync += [
                    self.word.eq(Mux(self.word_is_last, 0, self.word + words_read)),
                    self.words_left.eq(Mux(self.word_is_last, instruction.k_tiles, self.words_left - words_read)),
                    self.gain_offset.eq(self.gain_offset + 1),
                ]
                with m.If(self.word_is_last | self.several_words | (self.gain_offset == norm_words - 1)):
                    m.d.sync += [
                        self.gain_address.eq(Mux(self.word_is_last, 0, self.gain_address + 1)),
                        self.gain_offset.eq(0),
                    ]
            with m.If(self.row_is_last & self.word_is_last):
                m.d.sync += self.sweep.eq(Mux(self.sweep_is_last, 0, self.sweep + 1))
                with m.If(self.sweep_is_last):
                    m.d.sync += self.n_tile.eq(Mux(self.tile_is_last, 0, self.n_tile + 1))

    def describe(self, m: Module, access: data.View) -> None:
        """Sets ``access`` to the one that belongs to this place."""
        instruction, is_pass, is_norm = self._current.instruction, self.is_pass, self.is_norm
        new_row, low_sweep = self.word == 0, self.sweep == 1
        norm_purpose = Mux(self.sweep_is_last, ReadPurpose.PEAKS, ReadPurpose.MEANS)
        m.d.comb += [
            access.purpose.eq(Mux(is_pass, ReadPurpose.PASS, Mux(is_norm, norm_purpose, ReadPurpose.STORE))),
            access.row.eq(self.row),
            access.word.eq(self.word),
            access.following_mask.eq(Cat(self.several_words & (self.words_left > index)
                                         for index in range(1, self._config.norm_words))),
            access.gain_address.eq(self.gain_address),
            access.gain_offset.eq(self.gain_offset),
            access.first.eq(new_row),
            access.final.eq(self.word_is_last & (self.sweep_is_last | ~is_pass)),
            access.end.eq(self.end | (is_norm & self.row_is_last & self.word_is_last)),
            access.swap.eq(self.row == 0),
            access.operation.eq(Mux(~new_row | low_sweep, Accumulate.ADD,
                                    Mux(self.sweep == 0, Accumulate.SET, Accumulate.SHIFT_ADD))),
            access.low_digit.eq(low_sweep),
            access.queue_lookup.eq(instruction.gather | instruction.scatter | instruction.score),
            access.expert.eq(self._current.expert),
        ]
        m.d.comb += [access[field].eq(instruction[field]) for field in (
            "gather", "scatter", "operand", "keys", "source_peak", "source", "source_base", "source_stride")]
