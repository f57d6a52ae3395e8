# SPDX-License-Identifier: Apache-2.0
"""The sums of residual rows, kept while the rows are written; with them a NORM reads its rows once, not twice."""

from operator import add

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_BITS, ROW_SUM_BITS

from ..interfaces import Flow, MemoryRead
from ..layouts import row_sum_layout, word_layout
from ..plumbing.timeline import Timeline, tree, tree_stages

__all__ = ["RowSums"]

_LEVELS = 2  # levels of the adder tree per stage
_SUM = signed(ROW_SUM_BITS)


class RowSums(wiring.Component):
    """``table[row] := table[row] + sum of word - sum of old``, modulo 2^27; ``set`` replaces an entry.

    A word may follow another one of the same row in the next cycle. All entries are 0 after configuration. A reset
    leaves them as they are.

    Latency: `latency` cycles from a word to the cycle in whose end the table is written, 3 + log4(k_lanes) rounded up.
    A read in the next cycle gives the new entry. ``set`` writes in its own cycle.
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``; ``max_tokens``, the entries

    Members
    -------
    old, word : In(word_layout(config))
        the word that is replaced, and the word that replaces it
    row : In(range(max_tokens))
        the row, modulo max_tokens
    enable : In(1)
        there is a word in this cycle
    set : In(Flow(row_sum_layout()))
        a whole row's sum; only while no word is under way
    read : In(MemoryRead(max_tokens, signed(27)))
        the row reader's port
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "old": In(word_layout(config)),
            "word": In(word_layout(config)),
            "row": In(exact_log2(config.max_tokens)),
            "enable": In(1),
            "set": In(Flow(row_sum_layout())),
            "read": In(MemoryRead(config.max_tokens, _SUM)),
        })

    @property
    def latency(self) -> int:
        """Cycles from a word to the cycle in whose end its entry is written."""
        return 1 + tree_stages(self._config.k_lanes, _LEVELS) + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(shape=_SUM, depth=self._config.max_tokens, init=[])
        read = table.read_port()
        line = Timeline(m)
        line.put(0, reset=True, valid=self.enable)
        line.put(0, row=self.row)
        m.d.comb += [
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            self.read.data.eq(read.data),
        ]
        # Stage 1: differences. Stages 2 to last - 2: their sum.
        changes = [Signal(signed(ROW_BITS + 1), name=f"change_{lane}", reset_less=True)
                   for lane in range(self._config.k_lanes)]
        m.d.sync += [change.eq(self.word[lane] - self.old[lane]) for lane, change in enumerate(changes)]
        line.put(self.latency - 2, change=tree(m, changes, add, "change", levels=_LEVELS))
        self._update(m, line, table)
        return m

    def _update(self, m: Module, line: Timeline, table: Memory) -> None:
        """Stages `latency` - 2 to `latency`: the row's old sum, plus the change, back into the table."""
        old_value, write = table.read_port(), table.write_port()
        last = self.latency
        # Stage last - 2: read the table. The two words before are not written yet: note whether they have this row.
        row = line.at(last - 2, "row")
        m.d.comb += [old_value.en.eq(line.at(last - 2, "valid")), old_value.addr.eq(row)]
        repeats = []
        for words in (1, 2):
            same, before = Signal(name=f"repeats_{words}", reset_less=True), last - 2 + words
            m.d.sync += same.eq(line.at(before, "valid") & (row == line.at(before, "row")))
            repeats.append(same)
        line.put(last - 1, repeats=repeats[0])
        # Stage last - 1: the memory's output register, or what the word two before is writing.
        written, old = Signal(_SUM, reset_less=True), Signal(_SUM, reset_less=True)
        m.d.sync += old.eq(Mux(repeats[1], written, old_value.data))
        # Stage last: add, write. The word before has written in the cycle before this one.
        total = Signal(_SUM)
        m.d.comb += [
            total.eq(Mux(line.at(last, "repeats"), written, old) + line.at(last, "change")),
            write.data.eq(Mux(self.set.valid, self.set.payload.total, total)),
            write.addr.eq(Mux(self.set.valid, self.set.payload.row, line.at(last, "row"))),
            write.en.eq(self.set.valid | line.at(last, "valid")),
        ]
        m.d.sync += written.eq(total)
