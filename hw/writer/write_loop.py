# SPDX-License-Identifier: Apache-2.0
"""The row writer's way through a pass: n-tiles, rows, words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..interfaces import TOKEN_BITS, dispatch_layout

__all__ = ["WORD_BITS", "WriteLoop", "step_layout"]

WORD_BITS = 13  # words of a row: 12 bits of n-tiles, at most two words in each


def step_layout(config: MachineConfig) -> data.StructLayout:
    """One word of a pass.

    ``part`` of the row's sums, ``word`` of the destination row, ``lanes`` of it valid (0: nothing is stored);
    ``skipped`` destination rows left out before it; ``first`` and ``last`` row of the n-tile, ``end`` of the pass.
    """
    return data.StructLayout({
        "part": 1,
        "word": WORD_BITS,
        "lanes": range(config.k_lanes + 1),
        "skipped": TOKEN_BITS,
        "first": 1,
        "last": 1,
        "end": 1,
    })


class WriteLoop(wiring.Component):
    """Turns dispatched instructions into steps, one per cycle while ``go``; skips those that are no PASS.

    The first step comes in the cycle after the dispatch at the earliest, also behind another pass. rows and n_tiles
    are at least 1. A second word of which no column is valid gets no step, nor does a word before ``first_word``.

    Members
    -------
    dispatch : In(stream), every instruction
    current : Out(dispatch_layout()), steady during a pass
    active : Out(1), there is a pass under way and ``step`` describes its next word
    opening : Out(1), none of its words was taken so far
    step : Out(step_layout())
    next_row : Out(1), this step is the row's last
    next_tile : Out(1), this step is the n-tile's last
    last_tile : Out(1), the n-tile is the pass's last
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
            "last_tile": Out(1),
            "go": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        k_lanes, n_lanes, ratio = self._config.k_lanes, self._config.n_lanes, self._config.ratio
        step, incoming, instruction = self.step, self.dispatch.payload, self.current.instruction
        part, take = Signal(), Signal()
        tile = Signal.like(incoming.instruction.n_tiles)
        # Rows and n-tiles are counted down, and what they are compared with is known a cycle before.
        rows, rows_left = Signal.like(incoming.instruction.rows), Signal.like(incoming.instruction.rows)
        tiles_left, columns = Signal.like(tile), Signal.like(incoming.instruction.columns)
        single_row, first_row, last_row, last_tile = Signal(), Signal(), Signal(), self.last_tile
        first_part = Signal()  # of the rows of this n-tile
        coming_part = incoming.instruction.first_word if ratio == 2 else C(0)
        single_part, lanes = Signal(init=ratio == 1), Array(Signal(range(k_lanes + 1)) for _ in range(ratio))

        # Rows of the group behind this one, and rows left out so far.
        group_left, skipped = Signal.like(incoming.instruction.group), Signal(TOKEN_BITS)

        finished = self.go & step.end
        m.d.comb += [
            step.part.eq(part),
            step.word.eq(Cat(part, tile) if ratio == 2 else tile),
            step.lanes.eq(lanes[part] if ratio == 2 else lanes[0]),
            step.skipped.eq(skipped),
            step.first.eq(first_row),
            step.last.eq(last_row),
            step.end.eq(self.next_tile & last_tile),
            self.next_row.eq(single_part | part),
            self.next_tile.eq(self.next_row & last_row),
            self.dispatch.ready.eq(~self.active | finished),
            take.eq(self.dispatch.valid & self.dispatch.ready),
        ]
        following = Signal.like(columns)  # columns from the next n-tile on
        m.d.comb += following.eq(Mux(columns > n_lanes, columns - n_lanes, 0))

        def first_tile(columns: Value) -> Value:
            """Of the first n-tile of so many columns: whether one word holds it, and the valid lanes of each."""
            behind = [Mux(columns > at, columns - at, 0) for at in range(0, n_lanes, k_lanes)]
            return Cat((ratio == 1) | (columns <= k_lanes),
                       *(Mux(left > k_lanes, k_lanes, left)[:len(lanes[0])] for left in behind))

        with m.If(self.go):
            m.d.sync += [part.eq(~self.next_row | (first_part & ~last_row)), self.opening.eq(0)]
            with m.If(self.next_row):
                m.d.sync += [
                    first_row.eq(last_row),
                    rows_left.eq(Mux(last_row, rows, rows_left) - 1),
                    last_row.eq(Mux(last_row, single_row, rows_left == 1)),
                    group_left.eq(group_left - 1),
                ]
                with m.If(group_left == 0):
                    m.d.sync += [skipped.eq(skipped + instruction.gap), group_left.eq(instruction.group - 1)]
                with m.If(last_row):
                    m.d.sync += [skipped.eq(0), group_left.eq(instruction.group - 1)]
            with m.If(self.next_tile):
                m.d.sync += [
                    tile.eq(tile + 1),
                    tiles_left.eq(tiles_left - 1),
                    last_tile.eq(tiles_left == 1),
                    first_part.eq(0),
                ]
        with m.If(finished):
            m.d.sync += self.active.eq(0)
        with m.If(take):
            m.d.sync += [
                self.current.eq(incoming),
                self.active.eq(incoming.instruction.opcode == Opcode.PASS),
                self.opening.eq(1),
                first_row.eq(1),
                rows.eq(incoming.instruction.rows),
                rows_left.eq(incoming.instruction.rows - 1),
                single_row.eq(incoming.instruction.rows == 1),
                last_row.eq(incoming.instruction.rows == 1),
                skipped.eq(0),
                group_left.eq(incoming.instruction.group - 1),
                part.eq(coming_part),
                first_part.eq(coming_part),
                tile.eq(0),
                tiles_left.eq(incoming.instruction.n_tiles - 1),
                last_tile.eq(incoming.instruction.n_tiles == 1),
            ]
        with m.If(take | (self.go & self.next_tile)):
            # Chosen last: who takes is known late.
            m.d.sync += columns.eq(Mux(take, incoming.instruction.columns, following))
            m.d.sync += Cat(single_part, *lanes).eq(
                Mux(take, first_tile(incoming.instruction.columns), first_tile(following)))
        return m
