# SPDX-License-Identifier: Apache-2.0
"""The peaks of rows, kept while the rows are written; the row reader quantises or exponentiates with them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Peak

from ..interfaces import MemoryRead
from ..layouts import PEAK_ENTRIES, peak_layout, word_layout
from ..plumbing.timeline import Timeline

__all__ = ["PeakTable"]

_GROUP = 4  # values of which a stage finds the largest
_LOWEST = -(1 << peak_layout().width - 1)


class PeakTable(wiring.Component):
    """``table[entry] := max(table[entry], peak of the word)``; with ``start`` the peak of the word alone.

    A word may follow another one of the same entry in the next cycle.

    Latency: `latency` cycles from a word to the cycle in whose end the table is written, 3 + log4(k_lanes) rounded up.
    A read in the next cycle gives the new entry.
    Throughput: one word per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes``; ``max_tokens``, a quarter of the entries

    Members
    -------
    word : In(word_layout(config))
        the stored word
    lanes : In(range(k_lanes + 1))
        how many lanes count, from lane 0 on; at least 1 with ``enable``
    kind : In(2)
        a ``Peak``: the largest magnitude or the largest value
    start : In(1)
        the word is the first of its entry
    entry : In(range(4 x max_tokens))
        the row's place in the table
    enable : In(1)
        there is a word in this cycle
    read : In(MemoryRead(4 x max_tokens, peak_layout()))
        the row reader's port
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        self._depth = PEAK_ENTRIES * config.max_tokens
        super().__init__({
            "word": In(word_layout(config)),
            "lanes": In(range(config.k_lanes + 1)),
            "kind": In(2),
            "start": In(1),
            "entry": In(ceil_log2(self._depth)),
            "enable": In(1),
            "read": In(MemoryRead(self._depth, peak_layout())),
        })

    @property
    def latency(self) -> int:
        """Cycles from a word to the cycle in whose end its entry is written."""
        return 1 + -(-exact_log2(self._config.k_lanes) // exact_log2(_GROUP)) + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(shape=peak_layout(), depth=self._depth, init=[])
        read = table.read_port()
        line = Timeline(m)
        line.put(0, reset=True, valid=self.enable)
        line.put(0, entry=self.entry, start=self.start)
        m.d.comb += [
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            self.read.data.eq(read.data),
        ]
        line.put(self.latency - 2, peak=self._peak(m))
        self._update(m, line, table)
        return m

    def _peak(self, m: Module) -> Signal:
        """Stages 1 to `latency` - 2: the peak of the word."""
        # Stage 1: magnitudes.
        keys = []
        for lane, value in enumerate(self.word):
            key = Signal(peak_layout(), name=f"key_{lane}", reset_less=True)
            magnitude = Mux((self.kind == Peak.ABSOLUTE) & (value < 0), -value, value)
            m.d.sync += key.eq(Mux(self.lanes > lane, magnitude, _LOWEST))
            keys.append(key)
        # From stage 2 on: the largest of 4, of 16, ...
        stage = 2
        while len(keys) > 1:
            keys = [self._largest(m, keys[at:at + _GROUP], f"{stage}_{at}") for at in range(0, len(keys), _GROUP)]
            stage += 1
        return keys[0]

    def _update(self, m: Module, line: Timeline, table: Memory) -> None:
        """Stages `latency` - 2 to `latency`: the entry's old value, the larger of both, back into the table."""
        old_value, write = table.read_port(), table.write_port()
        last = self.latency
        # Stage last - 2: read the table. The two words before are not written yet: note whether they have this entry.
        entry, start = line.at(last - 2, "entry"), line.at(last - 2, "start")
        m.d.comb += [old_value.en.eq(line.at(last - 2, "valid")), old_value.addr.eq(entry)]
        repeats = []
        for words in (1, 2):
            same = Signal(name=f"repeats_{words}", reset_less=True)
            before = last - 2 + words
            m.d.sync += same.eq(line.at(before, "valid") & (entry == line.at(before, "entry")) & ~start)
            repeats.append(same)
        line.put(last - 1, repeats=repeats[0])
        # Stage last - 1: the memory's output register, or what the word two before is writing.
        written, old = Signal(peak_layout(), reset_less=True), Signal(peak_layout(), reset_less=True)
        m.d.sync += old.eq(Mux(line.at(last - 1, "start"), _LOWEST, Mux(repeats[1], written, old_value.data)))
        # Stage last: compare, write. The word before has written in the cycle before this one.
        before, now = Mux(line.at(last, "repeats"), written, old).as_signed(), line.at(last, "peak")
        m.d.comb += [
            write.data.eq(Mux(before > now, before, now)),
            write.addr.eq(line.at(last, "entry")),
            write.en.eq(line.at(last, "valid")),
        ]
        m.d.sync += written.eq(write.data)

    def _largest(self, m: Module, values: list[Signal], name: str) -> Signal:
        """The largest of a few values, a cycle later. Each pair is compared in the same cycle."""
        exceeds: dict[tuple[int, int], Signal] = {}  # low, high: value high is larger than value low
        for high in range(len(values)):
            for low in range(high):
                exceeds[low, high] = Signal(name=f"exceeds_{name}_{low}_{high}")
                m.d.comb += exceeds[low, high].eq(values[high] > values[low])
        found = C(0, len(values[0]))
        for index, value in enumerate(values):
            best = [exceeds[other, index] for other in range(index)]
            best += [~exceeds[index, other] for other in range(index + 1, len(values))]
            found |= value.as_unsigned() & Cat(best).all().replicate(len(value))
        largest = Signal.like(values[0], name=f"peak_{name}", reset_less=True)
        m.d.sync += largest.eq(found)
        return largest
