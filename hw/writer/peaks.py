# SPDX-License-Identifier: Apache-2.0
"""The peak of every row that will be quantised or exponentiated, tracked while the row is written."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2, exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Peak

from ..interfaces import PEAK_ENTRIES, MemoryRead, peak_layout, word_layout
from ..plumbing.timeline import Timeline

__all__ = ["PeakTable"]

_GROUP = 4  # values of which a stage finds the largest


class PeakTable(wiring.Component):
    """``table[entry] := max(table[entry], peak of the word)``, or the peak of the word alone with ``start``.

    One word per cycle, also of the same entry, no back-pressure; `latency` cycles from a word to the cycle in whose end
    the table is written.

    Members
    -------
    word : In(word_layout(config))
    lanes : In, the first ``lanes`` lanes count; at least 1 when ``enable``
    kind : In(2), ABSOLUTE: largest magnitude, MAXIMUM: largest value
    start : In(1)
    entry : In
    enable : In(1)
    read : In(MemoryRead), a second port
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
        """Cycles from a word to the write of its entry: visible to a read issued a cycle later."""
        return 1 + -(-exact_log2(self._config.k_lanes) // exact_log2(_GROUP)) + 2

    def elaborate(self, platform):
        m = Module()
        line = Timeline(m)
        line.put(0, reset=True, valid=self.enable)
        line.put(0, entry=self.entry, start=self.start)
        m.submodules.table = table = Memory(shape=peak_layout(), depth=self._depth, init=[])
        outside, inside, write = table.read_port(), table.read_port(), table.write_port()
        m.d.comb += [
            outside.en.eq(self.read.enable),
            outside.addr.eq(self.read.address),
            self.read.data.eq(outside.data),
        ]
        lowest = -(1 << peak_layout().width - 1)

        # Stage 1: magnitudes.
        keys = []
        for lane, value in enumerate(self.word):
            key = Signal(peak_layout(), name=f"key_{lane}", reset_less=True)
            magnitude = Mux((self.kind == Peak.ABSOLUTE) & (value < 0), -value, value)
            m.d.sync += key.eq(Mux(self.lanes > lane, magnitude, lowest))
            keys.append(key)
        # Stages 2 to last - 2: maximum.
        last, stage = self.latency, 2
        while len(keys) > 1:
            keys = [self._largest(m, keys[at:at + _GROUP], f"{stage}_{at}") for at in range(0, len(keys), _GROUP)]
            stage += 1
        line.put(last - 2, peak=keys[0])
        # Stage last - 2: read the table. What the two words before are about to write is not there yet.
        entry = line.at(last - 2, "entry")
        m.d.comb += [inside.en.eq(line.at(last - 2, "valid")), inside.addr.eq(entry)]
        start, again = line.at(last - 2, "start"), []
        for words in (1, 2):
            same = Signal(name=f"again_{words}", reset_less=True)
            before = last - 2 + words
            m.d.sync += same.eq(line.at(before, "valid") & (entry == line.at(before, "entry")) & ~start)
            again.append(same)
        line.put(last - 1, again=again[0])
        # Stage last - 1: the memory's output register, or what was written in the meantime.
        written, old = Signal(peak_layout(), reset_less=True), Signal(peak_layout(), reset_less=True)
        m.d.sync += old.eq(Mux(line.at(last - 1, "start"), lowest, Mux(again[1], written, inside.data)))
        # Stage last: compare, write.
        before, now = Mux(line.at(last, "again"), written, old).as_signed(), line.at(last, "peak")
        m.d.comb += [
            write.data.eq(Mux(before > now, before, now)),
            write.addr.eq(line.at(last, "entry")),
            write.en.eq(line.at(last, "valid")),
        ]
        m.d.sync += written.eq(write.data)
        return m

    def _largest(self, m: Module, values: list[Signal], name: str) -> Signal:
        """The largest of a few values a cycle later; all are compared with all at once."""
        beaten: dict[tuple[int, int], Signal] = {}
        for later in range(len(values)):
            for earlier in range(later):
                beaten[earlier, later] = Signal(name=f"beaten_{name}_{earlier}_{later}")
                m.d.comb += beaten[earlier, later].eq(values[later] > values[earlier])
        found = C(0, len(values[0]))
        for index, value in enumerate(values):
            best = [beaten[other, index] for other in range(index)]
            best += [~beaten[index, other] for other in range(index + 1, len(values))]
            found |= value.as_unsigned() & Cat(best).all().replicate(len(value))
        largest = Signal.like(values[0], name=f"peak_{name}", reset_less=True)
        m.d.sync += largest.eq(found)
        return largest
