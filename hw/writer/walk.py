# SPDX-License-Identifier: Apache-2.0
"""The row writer's way through a pass: n-tiles, rows, words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..interfaces import dispatch_layout

__all__ = ["WORD_BITS", "Walk", "step_layout"]

WORD_BITS = 13  # words of a row: 12 bits of n-tiles, at most two words in each


def step_layout(config: MachineConfig) -> data.StructLayout:
    """One word of a pass.

    ``part`` of the row's sums, ``word`` of the destination row, ``lanes`` of it valid (0: nothing is stored); ``first``
    and ``last`` row of the n-tile, ``end`` of the pass.
    """
    return data.StructLayout({
        "part": 1,
        "word": WORD_BITS,
        "lanes": range(config.k_lanes + 1),
        "first": 1,
        "last": 1,
        "end": 1,
    })


class Walk(wiring.Component):
    """Turns dispatched instructions into steps, one per cycle while ``go``; skips those that are no PASS.

    The first step comes in the cycle after the dispatch at the earliest, also behind another pass. rows and n_tiles
    are at least 1. A second word of which no column is valid gets no step.

    Members
    -------
    dispatch : In(stream), every instruction
    current : Out(dispatch_layout()), steady during a pass
    active : Out(1), there is a pass under way and ``step`` describes its next word
    opening : Out(1), none of its words was taken so far
    step : Out(step_layout())
    next_row : Out(1), this step is the row's last
    next_tile : Out(1), this step is the n-tile's last
    go : In(1), the step is taken
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "dispatch": In(stream.Signature(dispatch_layout())),
            "current": Out(dispatch_layout()),
            "active": Out(1),
            "opening": Out(1),
            "step": Out(step_layout(config)),
            "next_row": Out(1),
            "next_tile": Out(1),
            "go": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        k_lanes, n_lanes, ratio = self._config.k_lanes, self._config.n_lanes, self._config.ratio
        instruction, step = self.current.instruction, self.step
        row, last_row = Signal.like(instruction.rows), Signal.like(instruction.rows)
        tile, last_tile = Signal.like(instruction.n_tiles), Signal.like(instruction.n_tiles)
        columns = Signal.like(instruction.columns)  # from this n-tile on
        part = Signal()
        finished, take = Signal(), Signal()

        ahead = columns
        single = C(1, 1)
        if ratio == 2:
            ahead = Mux(part, columns - k_lanes, columns)
            single = columns <= k_lanes
        m.d.comb += [
            step.part.eq(part),
            step.word.eq(Cat(part[:ceil_log2(ratio)], tile)),
            step.lanes.eq(Mux(ahead > k_lanes, k_lanes, ahead)),
            step.first.eq(row == 0),
            step.last.eq(row == last_row),
            step.end.eq(self.next_tile & (tile == last_tile)),
            self.next_row.eq(single | part),
            self.next_tile.eq(self.next_row & step.last),
            finished.eq(self.go & step.end),
            take.eq(self.dispatch.valid & self.dispatch.ready),
            self.dispatch.ready.eq(~self.active | finished),
        ]
        with m.If(self.go):
            m.d.sync += [part.eq(~self.next_row), self.opening.eq(0)]
            with m.If(self.next_row):
                m.d.sync += row.eq(Mux(step.last, 0, row + 1))
            with m.If(self.next_tile):
                m.d.sync += [tile.eq(tile + 1), columns.eq(Mux(columns > n_lanes, columns - n_lanes, 0))]
        with m.If(finished):
            m.d.sync += self.active.eq(0)
        with m.If(take):
            incoming = self.dispatch.payload
            m.d.sync += [
                self.current.eq(incoming),
                self.active.eq(incoming.instruction.opcode == Opcode.PASS),
                self.opening.eq(1),
                last_row.eq(incoming.instruction.rows - 1),
                last_tile.eq(incoming.instruction.n_tiles - 1),
                columns.eq(incoming.instruction.columns),
                tile.eq(0),
            ]
        return m
