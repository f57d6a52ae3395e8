# SPDX-License-Identifier: Apache-2.0
"""The sum of every residual row, kept up to date while rows are written, so that a NORM need not read them for it."""

from operator import add

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_BITS, ROW_SUM_BITS

from ..interfaces import Flow, MemoryRead, row_sum_layout, word_layout
from ..plumbing.timeline import Timeline, tree, tree_stages

__all__ = ["RowSums"]

_LEVELS = 2  # of the adder tree per stage


class RowSums(wiring.Component):
    """``table[row] := table[row] + sum of word - old``, modulo 2^27; ``set`` replaces an entry.

    One word per cycle, also of the same row, no back-pressure; `latency` cycles from a word to the cycle in whose end
    the table is written. ``set`` writes in its own cycle; no word is under way then. All entries are 0 after
    configuration; a reset leaves them.

    Members
    -------
    old, word : In(word_layout(config)), what is replaced, and by what
    row : In, modulo max_tokens
    enable : In(1)
    set : In(Flow(row_sum_layout()))
    read : In(MemoryRead(max_tokens, s27)), a second port
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "old": In(word_layout(config)),
            "word": In(word_layout(config)),
            "row": In(exact_log2(config.max_tokens)),
            "enable": In(1),
            "set": In(Flow(row_sum_layout())),
            "read": In(MemoryRead(config.max_tokens, signed(ROW_SUM_BITS))),
        })

    @property
    def latency(self) -> int:
        """Cycles from a word to the write of its entry: visible to a read issued a cycle later."""
        return 1 + tree_stages(self._config.k_lanes, _LEVELS) + 2

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        line.put(0, reset=True, valid=self.enable)
        line.put(0, row=self.row)
        shape = signed(ROW_SUM_BITS)
        m.submodules.table = table = Memory(shape=shape, depth=self._config.max_tokens, init=[])
        outside, inside, write = table.read_port(), table.read_port(), table.write_port()
        m.d.comb += [
            outside.en.eq(self.read.enable),
            outside.addr.eq(self.read.address),
            self.read.data.eq(outside.data),
        ]
        # Stage 1: differences. Stages 2 to last - 2: their sum.
        changes = [Signal(signed(ROW_BITS + 1), name=f"change_{lane}", reset_less=True)
                   for lane in range(self._config.k_lanes)]
        m.d.sync += [change.eq(self.word[lane] - self.old[lane]) for lane, change in enumerate(changes)]
        last = self.latency
        line.put(last - 2, change=tree(m, changes, add, "change", levels=_LEVELS))
        # Stage last - 2: read the table. What the two words before are about to write is not there yet.
        row = line.at(last - 2, "row")
        m.d.comb += [inside.en.eq(line.at(last - 2, "valid")), inside.addr.eq(row)]
        again = []
        for words in (1, 2):
            same, before = Signal(name=f"again_{words}", reset_less=True), last - 2 + words
            m.d.sync += same.eq(line.at(before, "valid") & (row == line.at(before, "row")))
            again.append(same)
        line.put(last - 1, again=again[0])
        # Stage last - 1: the memory's output register, or what was written in the meantime.
        written, old = Signal(shape, reset_less=True), Signal(shape, reset_less=True)
        m.d.sync += old.eq(Mux(again[1], written, inside.data))
        # Stage last: add, write.
        total = Signal(shape)
        m.d.comb += [
            total.eq(Mux(line.at(last, "again"), written, old) + line.at(last, "change")),
            write.data.eq(Mux(self.set.valid, self.set.payload.total, total)),
            write.addr.eq(Mux(self.set.valid, self.set.payload.row, line.at(last, "row"))),
            write.en.eq(self.set.valid | line.at(last, "valid")),
        ]
        m.d.sync += written.eq(total)
        return m
