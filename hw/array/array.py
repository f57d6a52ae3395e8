# SPDX-License-Identifier: Apache-2.0
"""The weight-stationary array: a tile of weights stays, one row of operands enters per cycle."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS

from ..interfaces import Flow, load_layout, row_layout
from .accumulator import accumulate_layout, dots_layout
from .lane import DSP48E2, WEIGHT_BITS, DotProduct, PackedDotProduct, Packing, lane_latency, packing_of, sum_bits

__all__ = ["Array", "Column", "array_latency"]


def array_latency(config: MachineConfig) -> int:
    """Cycles from a row to its dot products."""
    return 2 + lane_latency(config.k_lanes, packing_of(config))


def _delays(m: Module, value: Value, cycles: int, name: str, *, reset: bool = False) -> list[Value]:
    """``value`` 0..cycles cycles late."""
    late = [Value.cast(value)]
    for i in range(cycles):
        register = Signal.like(late[-1], name=f"{name}_{i + 1}", reset_less=not reset)
        m.d.sync += register.eq(late[-1])
        late.append(register)
    return late


class Column(wiring.Component):
    """One column, or a pair of them: the shadow tile that is being loaded and the lane with the active one.

    All ports are skewed: position p (lanes p x k_lanes / group onwards) is p cycles late. Load and swap controls are
    one cycle ahead of their data, so that they can be held here; their nets would be too large otherwise.

    Parameters
    ----------
    lane : `DotProduct` or `PackedDotProduct`
    k_lanes, packing : the lane's

    Members
    -------
    select : per column and position: take ``weights``
    shift : per position: take ``row`` as the position's last lane, all its lanes moving down by one
    swap : per position: make the shadow tile the active one
    weights : per column, k_lanes x s8
    row : per column and position, s8
    operands : k_lanes x s9
    dots : per column, one cycle more than the lane's latency after position 0's ``swap``
    """

    def __init__(self, lane: type[DotProduct | PackedDotProduct], k_lanes: int, packing: Packing = DSP48E2):
        self._lane = lane
        self._arguments = k_lanes, packing
        group, count = packing.group, lane.COLUMNS
        super().__init__({
            "select": In(data.ArrayLayout(group, count)),
            "shift": In(group),
            "swap": In(group),
            "weights": In(data.ArrayLayout(data.ArrayLayout(signed(WEIGHT_BITS), k_lanes), count)),
            "row": In(data.ArrayLayout(data.ArrayLayout(WEIGHT_BITS, group), count)),
            "operands": In(data.ArrayLayout(signed(OPERAND_BITS), k_lanes)),
            "dots": Out(data.ArrayLayout(signed(sum_bits(k_lanes)), count)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.lane = lane = self._lane(*self._arguments)
        # Stage 1: hold the controls.
        select, shift, swap = Signal.like(self.select), Signal.like(self.shift), Signal.like(self.swap)
        m.d.sync += [select.eq(self.select), shift.eq(self.shift), swap.eq(self.swap)]
        m.d.comb += [lane.swap.eq(swap), lane.operands.eq(self.operands), self.dots.eq(lane.dots)]
        # Stage 2: shadow tile.
        width = lane.stride * WEIGHT_BITS
        for index, weights in enumerate(lane.weights):
            for position in range(lane.group):
                part = slice(position * width, (position + 1) * width)
                shadow = Signal(width, name=f"shadow_{index}_{position}", reset_less=True)
                with m.If(select[index][position]):
                    m.d.sync += shadow.eq(self.weights[index].as_value()[part])
                with m.Elif(shift[position]):
                    m.d.sync += shadow.eq(Cat(shadow[WEIGHT_BITS:], self.row[index][position]))
                m.d.comb += weights.as_value()[part].eq(shadow)
        return m


class Array(wiring.Component):
    """``dots[n] = sum over k of tile[k][n] x operands[k]``, for every row that enters.

    The next tile is loaded while rows stream; the first row that asks for it swaps. A tile is loaded either whole by
    columns, beats and groups of beats in any order, or whole by rows, in order: row 0 first. Its last beat must come
    before the swap, the next tile's first beat after it. Exact for operands in -255..255, weights in -127..127; columns
    do not mix and a zero operand makes any weight count nothing, so padded lanes reach no sum.

    Golden: numpy's integer ``@``. One row and one load per cycle, no back-pressure. ``latency`` cycles from a row to
    its ``dots``, whose ``address``, ``operation`` and ``last`` come ``lead`` cycles ahead of them.

    Parameters
    ----------
    config : its ``packed`` chooses the lane, its ``dsp48e1`` the multiplier's shape
    lead : how much earlier than the dots the accumulator wants to know what to do with them

    Members
    -------
    load, row : Flow in
    ahead : Flow out, what to do with the dots that come ``lead`` cycles later
    dots : sums of the row
    """

    def __init__(self, config: MachineConfig, *, lead: int = 0):
        self.config = config
        self.packing = packing_of(config)
        self.latency = array_latency(config)
        self.lead = lead
        super().__init__({
            "load": In(Flow(load_layout(config))),
            "row": In(Flow(row_layout(config))),
            "ahead": Out(Flow(accumulate_layout(config))),
            "dots": Out(dots_layout(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        k_lanes, n_lanes, ratio = self.config.k_lanes, self.config.n_lanes, self.config.ratio
        group, stride = self.packing.group, k_lanes // self.packing.group
        tile_beats = self.config.tile_beats
        load, row = self.load.payload, self.row.payload

        # Stage 1: input registers of the controls; which columns a beat or a group is for.
        chosen, shifted, swap = Signal(k_lanes), Signal(group), Signal()
        m.d.sync += [
            chosen.eq(Mux(self.load.valid & ~load.by_row, Mux(load.whole, (1 << tile_beats) - 1, 1) << load.index, 0)),
            swap.eq(self.row.valid & row.swap),
        ]
        for position in range(group):
            here = load.index[exact_log2(stride):] == position
            m.d.sync += shifted[position].eq(self.load.valid & load.by_row & here)

        # Stages 1, 2, 3 + position: skewed controls, beats, operands. Of all beats but the first, in which rows come, a
        # position reads its own lanes alone: synthesis drops the rest.
        chosen = _delays(m, chosen, group - 1, "chosen", reset=True)
        shifted = _delays(m, shifted, group - 1, "shifted", reset=True)
        swap = _delays(m, swap, group - 1, "swap", reset=True)
        beats = _delays(m, load.data, group + 1, "beat")[2:]
        operands = []
        for position in range(group):
            part = row.operands.as_value().word_select(position, stride * OPERAND_BITS)
            operands.append(_delays(m, part, 3 + position, f"operands_{position}")[-1])

        lane = PackedDotProduct if self.config.packed else DotProduct
        for index in range(n_lanes // lane.COLUMNS):
            m.submodules[f"column_{index}"] = column = Column(lane, k_lanes, self.packing)
            m.d.comb += [
                column.shift.eq(Cat(shifted[position][position] for position in range(group))),
                column.swap.eq(Cat(swap)),
                column.operands.eq(Cat(operands)),
            ]
            for i, n in enumerate(range(index * lane.COLUMNS, (index + 1) * lane.COLUMNS)):
                first = n % (tile_beats * ratio) * group  # in the beat that is the column's source
                m.d.comb += [
                    column.select[i].eq(Cat(one[n // ratio] for one in chosen)),
                    column.weights[i].eq(Cat(beat.word_select(first + position, stride * WEIGHT_BITS)
                                             for position, beat in enumerate(beats))),
                    column.row[i].eq(Cat(beat.word_select(n, WEIGHT_BITS) for beat in beats)),
                    self.dots[n].eq(column.dots[i]),
                ]

        # Stages 1 to latency - lead: what to do with the dots.
        ahead = _delays(m, Cat(row.address, row.operation, row.last), self.latency - self.lead, "ahead")[-1]
        valid = _delays(m, self.row.valid, self.latency - self.lead, "valid", reset=True)[-1]
        m.d.comb += [self.ahead.valid.eq(valid), self.ahead.payload.eq(ahead)]
        return m
