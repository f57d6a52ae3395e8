# SPDX-License-Identifier: Apache-2.0
"""The mean of each row of a NORM, from the row's words or from its sum."""

from operator import add

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import INVERSE_DIM_FRACTION, ROW_SUM_BITS

from ..interfaces import TOKEN_BITS, Flow, MemoryRead, mean_shape, row_sum_layout, word_layout
from ..math.rounding import round_shift
from ..math.wide_multiply import WideMultiply
from ..plumbing.timeline import Timeline, tree, tree_stages

__all__ = ["Means", "means_layout"]


def means_layout() -> data.StructLayout:
    """A row's entry."""
    return data.StructLayout({"mean": mean_shape(), "total": signed(ROW_SUM_BITS)})


class Means(wiring.Component):
    """``mean = round(sum / dim)`` of each row and the sum, into a table: the first half of
    ``golden.integer.norm.norm_rows``, exactly.

    The sum is that of the row's words, or if the row is ``known`` the row writer's; words and known rows are cycles
    apart, as NORMs are. One word or row per cycle, no back-pressure; :attr:`latency` cycles from a row's last word, 5
    from ``known``, to its entry, which can be read in the next cycle. A mean that is read 4 cycles after ``known`` is
    the known row's, whatever the address.

    Members
    -------
    valid, first, final, end : In(1), a word of a row; its first; its last; the last of all
    row : In(12), the word's row
    word : In(word_layout(config))
    known : In(Flow(12)), a row whose sum is known
    inverse_dim : In(24), steady
    sums : Out(MemoryRead(max_tokens, s27)), what the row writer knows
    found : Out(Flow(row_sum_layout())), the sum of each row of words as its entry is written
    restart : In(1), clears ``measured``
    measured : Out(1), the last entry of rows of words can be read
    mean : In(MemoryRead(max_tokens, mean_shape()))
    read : In(MemoryRead(max_tokens, means_layout()))
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "final": In(1),
            "end": In(1),
            "row": In(TOKEN_BITS),
            "word": In(word_layout(config)),
            "known": In(Flow(TOKEN_BITS)),
            "inverse_dim": In(INVERSE_DIM_FRACTION),
            "sums": Out(MemoryRead(config.max_tokens, signed(ROW_SUM_BITS))),
            "found": Out(Flow(row_sum_layout())),
            "restart": In(1),
            "measured": Out(1),
            "mean": In(MemoryRead(config.max_tokens, mean_shape())),
            "read": In(MemoryRead(config.max_tokens, means_layout())),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to the write of its entry."""
        return tree_stages(self._config.k_lanes, first=1) + 4

    def elaborate(self, platform):
        m = Module()
        lanes, pipe = self._config.k_lanes, Timeline(m)
        pipe.put(0, reset=True, valid=self.valid, final_valid=self.valid & self.final, end_valid=self.valid & self.end)
        pipe.put(0, first=self.first, word_row=self.row)

        # Stages 1 to `added`: add the lanes up. In the last of them: read the row's sum, if it is known.
        added = tree_stages(lanes, first=1)
        pipe.put(added, sum=tree(m, [self.word[lane] for lane in range(lanes)], add, "sum", first=1))
        m.d.comb += [self.sums.enable.eq(self.known.valid), self.sums.address.eq(self.known.payload)]
        pipe.put(added - 1, reset=True, known_valid=self.known.valid)
        pipe.put(added - 1, row=Mux(self.known.valid, self.known.payload, pipe.at(added - 1, "word_row")))
        # Stage `added` + 1: take it, or add the words up.
        total = Signal(signed(ROW_SUM_BITS))
        with m.If(pipe.at(added, "known_valid")):
            m.d.sync += total.eq(self.sums.data)
        with m.Elif(pipe.at(added, "valid")):
            m.d.sync += total.eq(Mux(pipe.at(added, "first"), 0, total) + pipe.at(added, "sum"))
        # Stages 2 and 3 after that: product.
        m.submodules.by_dim = by_dim = WideMultiply(
            total.shape(), self.inverse_dim.shape(), dsp48=self._config.packed)
        m.d.comb += [by_dim.a.eq(total), by_dim.b.eq(self.inverse_dim)]
        pipe.put(added + 1, total=total)
        # Stage 4 after that: round; store.
        mean = Signal(mean_shape(), reset_less=True)
        m.d.sync += mean.eq(round_shift(by_dim.o, INVERSE_DIM_FRACTION))
        stored, found = self.latency, self.found.payload
        known = pipe.at(stored, "known_valid")
        m.d.comb += [
            self.found.valid.eq(pipe.at(stored, "final_valid")),
            found.row.eq(pipe.at(stored, "row")),
            found.total.eq(pipe.at(stored, "total")),
        ]
        m.submodules.table = table = Memory(shape=means_layout(), depth=self._config.max_tokens, init=[])
        write = table.write_port()
        m.d.comb += [
            write.en.eq(self.found.valid | known),
            write.addr.eq(found.row),
            write.data.mean.eq(mean),
            write.data.total.eq(found.total),
        ]
        with m.If(self.restart):
            m.d.sync += self.measured.eq(0)
        with m.Elif(pipe.at(stored, "end_valid")):
            m.d.sync += self.measured.eq(1)

        mean_read, read = table.read_port(), table.read_port()
        m.d.comb += [
            mean_read.en.eq(self.mean.enable), mean_read.addr.eq(self.mean.address),
            self.mean.data.eq(Mux(known, mean, mean_read.data.mean)),
            read.en.eq(self.read.enable), read.addr.eq(self.read.address), self.read.data.eq(read.data),
        ]
        return m
