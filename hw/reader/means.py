# SPDX-License-Identifier: Apache-2.0
"""The mean of each row of a NORM, from the row's words or from its sum."""

from operator import add

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import INVERSE_DIM_FRACTION, ROW_SUM_BITS

from ..interfaces import Flow, MemoryRead
from ..layouts import TOKEN_BITS, mean_shape, row_sum_layout, word_layout
from ..math.rounding import round_shift
from ..math.wide_multiply import WideMultiply
from ..plumbing.timeline import Timeline, tree, tree_stages

__all__ = ["Means", "means_layout"]


def means_layout() -> data.StructLayout:
    """The entry of a row: its mean and the sum of its values."""
    return data.StructLayout({"mean": mean_shape(), "total": signed(ROW_SUM_BITS)})


class Means(wiring.Component):
    """``mean = round(sum / dim)`` of each row, into a table with the sum.

    The sum is that of the row's words, or the one that the row writer has kept (``summed_row``). Both kinds may be on
    their way at a time only if they belong to different NORMs, which are far enough apart.

    Golden: ``golden.integer.norm.norm_rows``.
    Latency: `latency` cycles from a row's last word to the write of its entry and ``found``; 5 cycles from
    ``summed_row`` to that write (`latency_summed`). The entry can be read in the next cycle. ``mean`` gives the new
    mean of a summed row already when it is read 4 cycles after ``summed_row``, whatever its address.
    Throughput: one word or one summed row per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `k_lanes` and `max_tokens`

    Members
    -------
    valid : In(1)
        a word of a row is here
    first : In(1)
        it is the row's first word
    final : In(1)
        it is the row's last word
    end : In(1)
        it is the last word of all
    row : In(12)
        its row
    word : In(word_layout(config))
        the word
    summed_row : In(Flow(12))
        a row whose sum the row writer has
    inverse_dim : In(24)
        2^24 / dim; steady
    sums : Out(MemoryRead(max_tokens, s27))
        sums of the row writer
    found : Out(Flow(row_sum_layout()))
        the sum of each row of words
    restart : In(1)
        clears ``measured``
    measured : Out(1)
        the entries of all rows of words can be read
    mean : In(MemoryRead(max_tokens, mean_shape()))
        read port for means
    read : In(MemoryRead(max_tokens, means_layout()))
        read port for entries
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
            "summed_row": In(Flow(TOKEN_BITS)),
            "inverse_dim": In(INVERSE_DIM_FRACTION),
            "sums": Out(MemoryRead(config.max_tokens, signed(ROW_SUM_BITS))),
            "found": Out(Flow(row_sum_layout())),
            "restart": In(1),
            "measured": Out(1),
            "mean": In(MemoryRead(config.max_tokens, mean_shape())),
            "read": In(MemoryRead(config.max_tokens, means_layout())),
        })

    latency_summed = 5

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to the write of its entry."""
        return tree_stages(self._config.k_lanes, first=1) + 4

    def elaborate(self, platform):
        m = Module()
        lanes, pipe = self._config.k_lanes, Timeline(m)
        pipe.put(0, reset=True, valid=self.valid, final_valid=self.valid & self.final, end_valid=self.valid & self.end)
        pipe.put(0, first=self.first, word_row=self.row)

        # Stages 1 to `added`: add the lanes up. In the last of them: read the sum of a summed row.
        added = tree_stages(lanes, first=1)
        pipe.put(added, sum=tree(m, [self.word[lane] for lane in range(lanes)], add, "sum", first=1))
        m.d.comb += [self.sums.enable.eq(self.summed_row.valid), self.sums.address.eq(self.summed_row.payload)]
        pipe.put(added - 1, reset=True, summed_valid=self.summed_row.valid)
        pipe.put(added - 1, row=Mux(self.summed_row.valid, self.summed_row.payload, pipe.at(added - 1, "word_row")))
        # Stage `added` + 1: take that sum, or add the words up.
        total = Signal(signed(ROW_SUM_BITS))
        with m.If(pipe.at(added, "summed_valid")):
            m.d.sync += total.eq(self.sums.data)
        with m.Elif(pipe.at(added, "valid")):
            m.d.sync += total.eq(Mux(pipe.at(added, "first"), 0, total) + pipe.at(added, "sum"))
        # Stages `added` + 2 and + 3: product.
        m.submodules.by_dim = by_dim = WideMultiply(
            total.shape(), self.inverse_dim.shape(), dsp48=self._config.packed)
        m.d.comb += [by_dim.a.eq(total), by_dim.b.eq(self.inverse_dim)]
        pipe.put(added + 1, total=total)
        # Stage `added` + 4: round; store.
        mean = Signal(mean_shape(), reset_less=True)
        m.d.sync += mean.eq(round_shift(by_dim.o, INVERSE_DIM_FRACTION))
        stored, found = self.latency, self.found.payload
        is_summed = pipe.at(stored, "summed_valid")
        m.d.comb += [
            self.found.valid.eq(pipe.at(stored, "final_valid")),
            found.row.eq(pipe.at(stored, "row")),
            found.total.eq(pipe.at(stored, "total")),
        ]
        m.submodules.table = table = Memory(shape=means_layout(), depth=self._config.max_tokens, init=[])
        write = table.write_port()
        m.d.comb += [
            write.en.eq(self.found.valid | is_summed),
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
            self.mean.data.eq(Mux(is_summed, mean, mean_read.data.mean)),
            read.en.eq(self.read.enable), read.addr.eq(self.read.address), self.read.data.eq(read.data),
        ]
        return m
