# SPDX-License-Identifier: Apache-2.0
"""What the row writer keeps of the words that it has stored: peaks, sums, saturated values, the newest row."""

from amaranth import *
from amaranth.lib.wiring import Component, connect, flipped

from moevit.spec.arrays import MachineConfig

from ..plumbing.timeline import Timeline
from .epilogue import Epilogue
from .peaks import PeakTable
from .popcount import PopCount
from .row_sums import RowSums

__all__ = ["Tracking"]


class Tracking:
    """The row writer's stages after the store. ``latency``: how many there are."""

    def __init__(self, config: MachineConfig):
        self.peaks, self.row_sums, self.saturated = PeakTable(config), RowSums(config), PopCount(config.k_lanes)
        self.latency = max(part.latency for part in (self.peaks, self.row_sums, self.saturated))

    def build(self, m: Module, unit: Component, line: Timeline, epilogue: Epilogue, stored: int) -> None:
        """Builds them into ``m``, the module of ``unit``, which stores words in stage ``stored``."""
        m.submodules.peaks, m.submodules.row_sums, m.submodules.saturated = peaks, sums, saturated = (
            self.peaks, self.row_sums, self.saturated)
        connect(m, flipped(unit.peaks), peaks.read)
        connect(m, flipped(unit.row_sums), sums.read)
        connect(m, flipped(unit.summed), sums.set)
        entry = Signal.like(peaks.entry, reset_less=True)  # stage 2: the row's place in the peak table
        m.d.sync += entry.eq(line.at(1, "instruction").destination_peak + line.at(1, "row"))
        line.put(2, entry=entry)
        at = {name: line.at(stored, name) for name in (
            "lanes", "peak", "peak_start", "entry", "row", "old", "valid_residual", "valid_hidden", "valid_kv",
            "valid_peak")}
        to_memory = at["valid_residual"] | at["valid_hidden"] | at["valid_kv"]
        m.d.comb += [
            peaks.word.eq(epilogue.o),
            peaks.lanes.eq(at["lanes"]),
            peaks.kind.eq(at["peak"]),
            peaks.start.eq(at["peak_start"]),
            peaks.entry.eq(at["entry"]),
            peaks.enable.eq(at["valid_peak"]),
            sums.old.eq(at["old"]),
            sums.word.eq(epilogue.o),
            sums.row.eq(at["row"]),
            sums.enable.eq(at["valid_residual"]),
            saturated.i.eq(Mux(to_memory, epilogue.clipped, 0)),
            unit.saturated.eq(saturated.o),
        ]
        self._announce(m, unit, line, stored + self.latency)

    def _announce(self, m: Module, unit: Component, line: Timeline, done: int) -> None:
        """Stage ``done``: the end of the pass; a cycle later the newest stored row."""
        row = unit.stored.row
        m.d.comb += unit.done.eq(line.at(done, "valid_end"))
        with m.If(line.at(done, "valid_row")):
            m.d.sync += [
                unit.stored.sequence.eq(line.at(done, "sequence")),
                row.eq(Mux(line.at(done, "first") | line.at(done, "valid_end"), 0, row + 1)),
            ]
