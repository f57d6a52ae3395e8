# SPDX-License-Identifier: Apache-2.0
"""The loops of the row writer: n-tiles, rows, words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode

from ..layouts import TOKEN_BITS, dispatch_layout

__all__ = ["WORD_BITS", "WriteLoop", "slot_layout"]

WORD_BITS = 13  # words of a row: 12 bits of n-tiles, at most two words in each


def slot_layout(config: MachineConfig) -> data.StructLayout:
    """One word of a pass that is to be stored.

    ``part`` of the row's sums, ``word`` of the destination row, ``lanes`` of it valid (0: nothing is stored);
    ``skipped``: destination rows between groups that are left out before this row. After each ``group`` of rows the
    pass leaves ``gap`` rows out. ``first`` and ``last``: row of the n-tile. ``end``: last slot of the pass.
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


class _Place:
    """Registers of the loops. Rows and n-tiles count down; each comparison is stored a cycle before it is used."""

    def __init__(self, config: MachineConfig, instruction: data.View):
        self.part, self.first_part = Signal(), Signal()  # first_part: of the rows of this n-tile
        self.tile = Signal.like(instruction.n_tiles)
        self.tiles_left, self.columns = Signal.like(self.tile), Signal.like(instruction.columns)
        self.rows, self.rows_left = Signal.like(instruction.rows), Signal.like(instruction.rows)
        self.single_row, self.first_row, self.last_row = Signal(), Signal(), Signal()
        #: Rows of the group after this one; destination rows skipped so far.
        self.group_left, self.skipped = Signal.like(instruction.group), Signal(TOKEN_BITS)
        #: Of this n-tile: whether one word holds it; valid lanes of each word.
        self.single_part = Signal(init=config.ratio == 1)
        self.lanes = Array(Signal(range(config.k_lanes + 1), name=f"lanes_{part}") for part in range(config.ratio))


class WriteLoop(wiring.Component):
    """Turns every PASS into slots, one word after the other; drops every other instruction.

    The loops, from the outside in: n-tiles, rows, words of an n-tile (one, or two where ``ratio`` is 2). rows and
    n_tiles are at least 1. A second word without a valid column gets no slot, nor does a word before ``first_word``.

    Latency: 1 cycle from ``dispatch`` to the first ``slot``, also behind another PASS (`latency`).
    Throughput: one slot per cycle.
    Back-pressure: ``dispatch`` waits until the last slot of the pass before is taken; a slot waits for ``take``.

    Parameters
    ----------
    config : MachineConfig
        ``k_lanes`` and ``n_lanes``

    Members
    -------
    dispatch : In(stream.Signature(dispatch_layout()))
        every instruction
    current : Out(dispatch_layout())
        the PASS; steady from its first slot to its last
    active : Out(1)
        ``slot`` is the next word of ``current``
    first_slot : Out(1)
        no slot of ``current`` has been taken
    slot : Out(slot_layout(config))
        the next word
    row_end : Out(1)
        the slot is the last one of its row in this n-tile
    tile_end : Out(1)
        the slot is the last one of its n-tile
    last_tile : Out(1)
        the n-tile is the last one of the pass
    take : In(1)
        the slot is taken; only while ``active``
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "dispatch": In(stream.Signature(dispatch_layout())),
            "current": Out(dispatch_layout()),
            "active": Out(1),
            "first_slot": Out(1),
            "slot": Out(slot_layout(config)),
            "row_end": Out(1),
            "tile_end": Out(1),
            "last_tile": Out(1),
            "take": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        accept = Signal()  # the next instruction
        place = _Place(self._config, self.dispatch.payload.instruction)
        self._slot(m, place)
        pass_end = self.take & self.slot.end
        m.d.comb += [
            self.dispatch.ready.eq(~self.active | pass_end),
            accept.eq(self.dispatch.valid & self.dispatch.ready),
        ]
        with m.If(self.take):
            self._next(m, place)
        with m.If(pass_end):
            m.d.sync += self.active.eq(0)
        with m.If(accept):
            self._start(m, place)
        self._columns(m, place, accept)
        return m

    def _slot(self, m: Module, place: _Place) -> None:
        """The slot, from the registers."""
        slot, part, tile, ratio = self.slot, place.part, place.tile, self._config.ratio
        m.d.comb += [
            slot.part.eq(part),
            slot.word.eq(Cat(part, tile) if ratio == 2 else tile),
            slot.lanes.eq(place.lanes[part] if ratio == 2 else place.lanes[0]),
            slot.skipped.eq(place.skipped),
            slot.first.eq(place.first_row),
            slot.last.eq(place.last_row),
            slot.end.eq(self.tile_end & self.last_tile),
            self.row_end.eq(place.single_part | part),
            self.tile_end.eq(self.row_end & place.last_row),
        ]

    def _next(self, m: Module, place: _Place) -> None:
        """The place of the next slot of the same pass."""
        instruction, last_row, rows_left = self.current.instruction, place.last_row, place.rows_left
        m.d.sync += [place.part.eq(~self.row_end | (place.first_part & ~last_row)), self.first_slot.eq(0)]
        with m.If(self.row_end):
            m.d.sync += [
                place.first_row.eq(last_row),
                rows_left.eq(Mux(last_row, place.rows, rows_left) - 1),
                last_row.eq(Mux(last_row, place.single_row, rows_left == 1)),
                place.group_left.eq(place.group_left - 1),
            ]
            with m.If(place.group_left == 0):
                m.d.sync += [
                    place.skipped.eq(place.skipped + instruction.gap),
                    place.group_left.eq(instruction.group - 1),
                ]
            with m.If(last_row):
                m.d.sync += [place.skipped.eq(0), place.group_left.eq(instruction.group - 1)]
        with m.If(self.tile_end):
            m.d.sync += [
                place.tile.eq(place.tile + 1),
                place.tiles_left.eq(place.tiles_left - 1),
                self.last_tile.eq(place.tiles_left == 1),
                place.first_part.eq(0),
            ]

    def _start(self, m: Module, place: _Place) -> None:
        """The place of the first slot of the next instruction."""
        incoming = self.dispatch.payload
        instruction = incoming.instruction
        first_part = instruction.first_word if self._config.ratio == 2 else C(0)
        m.d.sync += [
            self.current.eq(incoming),
            self.active.eq(instruction.opcode == Opcode.PASS),
            self.first_slot.eq(1),
            place.first_row.eq(1),
            place.rows.eq(instruction.rows),
            place.rows_left.eq(instruction.rows - 1),
            place.single_row.eq(instruction.rows == 1),
            place.last_row.eq(instruction.rows == 1),
            place.skipped.eq(0),
            place.group_left.eq(instruction.group - 1),
            place.part.eq(first_part),
            place.first_part.eq(first_part),
            place.tile.eq(0),
            place.tiles_left.eq(instruction.n_tiles - 1),
            self.last_tile.eq(instruction.n_tiles == 1),
        ]

    def _columns(self, m: Module, place: _Place, accept: Signal) -> None:
        """Columns from the slot's n-tile on, and how its words divide them."""
        n_lanes = self._config.n_lanes
        columns, incoming = place.columns, self.dispatch.payload.instruction.columns
        following = Signal.like(columns)  # columns from the next n-tile on
        m.d.comb += following.eq(Mux(columns > n_lanes, columns - n_lanes, 0))
        with m.If(accept | (self.take & self.tile_end)):
            # `accept` settles late in the cycle. So both cases are computed, and `accept` chooses last.
            m.d.sync += columns.eq(Mux(accept, incoming, following))
            m.d.sync += Cat(place.single_part, *place.lanes).eq(
                Mux(accept, self._words(place, incoming), self._words(place, following)))

    def _words(self, place: _Place, columns: Value) -> Value:
        """Of the next n-tile, if ``columns`` are left: whether one word holds it; the valid lanes of each word."""
        k_lanes, n_lanes = self._config.k_lanes, self._config.n_lanes
        left = [Mux(columns > at, columns - at, 0) for at in range(0, n_lanes, k_lanes)]
        return Cat((self._config.ratio == 1) | (columns <= k_lanes),
                   *(Mux(each > k_lanes, k_lanes, each)[:len(place.lanes[0])] for each in left))
