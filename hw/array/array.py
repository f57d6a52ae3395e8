# SPDX-License-Identifier: Apache-2.0
"""The weight-stationary array: a tile of weights stays, one row of operands enters per cycle."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import OPERAND_BITS

from ..interfaces import Flow
from ..layouts import load_layout, row_layout
from .accumulator import accumulate_layout, dots_layout
from .lane import DSP48E2, WEIGHT_BITS, DotProduct, PackedDotProduct, Packing, lane_latency, packing_of, sum_bits

__all__ = ["Array", "Column", "array_latency"]


def array_latency(config: MachineConfig) -> int:
    """Cycles from a row to its dot products."""
    return 2 + lane_latency(config.k_lanes, packing_of(config))


def _delays(m: Module, value: Value, cycles: int, name: str, *, reset: bool = False) -> list[Value]:
    """``value`` delayed by 0, 1, ... ``cycles`` cycles."""
    delayed = [Value.cast(value)]
    for i in range(cycles):
        register = Signal.like(delayed[-1], name=f"{name}_{i + 1}", reset_less=not reset)
        m.d.sync += register.eq(delayed[-1])
        delayed.append(register)
    return delayed


class Column(wiring.Component):
    """One column of the array, or a pair of columns: the shadow tile, and the lane with the active tile.

    All ports are skewed. Position p stands for lanes ``p x k_lanes / group`` onwards and is p cycles late. The controls
    come one cycle before their data and are held here, since their nets would be too large otherwise.

    Latency: ``lane_latency + 1`` cycles from ``swap`` of position 0 to ``dots`` (`latency`).
    Throughput: one row and one load per cycle.
    Back-pressure: none.

    Parameters
    ----------
    lane : type[DotProduct | PackedDotProduct]
        the lane
    k_lanes, packing : int, Packing
        the lane's

    Members
    -------
    select : In(group), by column
        take the position's part of ``weights``
    shift : In(group)
        take ``row`` as the position's last lane; all its lanes move down by one
    swap : In(group)
        make the shadow tile the active one
    weights : In(k_lanes x s8), by column
        weights of a column
    row : In(group x 8), by column
        a weight for each position
    operands : In(k_lanes x s9)
        operands of a row
    dots : Out(s16 + log2(k_lanes)), by column
        the dot products
    """

    def __init__(self, lane: type[DotProduct | PackedDotProduct], k_lanes: int, packing: Packing = DSP48E2):
        self._lane = lane
        self._arguments = k_lanes, packing
        self.latency = lane_latency(k_lanes, packing) + 1
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

    The next tile is loaded while rows stream. The first row with ``swap`` makes it the active one. A tile is loaded
    either wholly by columns, in beats or groups of beats in any order, or wholly by rows, row 0 first. Its last beat
    comes before the swap, the first beat of the tile after it comes after the swap.

    Exact for operands in -255..255 and weights in -127..127. Columns do not mix, and a zero operand silences any
    weight, so that padded lanes reach no sum. Dots equal numpy's integer ``@``.

    Latency: ``2 + lane_latency`` cycles from ``row`` to ``dots`` (`latency`); ``ahead`` comes `lead` cycles before.
    Throughput: one row and one load per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `packed` chooses the lane, `dsp48e1` the multiplier's shape
    lead : int
        cycles from ``ahead`` to ``dots``

    Members
    -------
    load : In(Flow(load_layout(config)))
        beats of the next tile
    row : In(Flow(row_layout(config)))
        a row of operands, and what to do with its dot products
    ahead : Out(Flow(accumulate_layout(config)))
        what to do with the dots that come `lead` cycles later
    dots : Out(dots_layout(config))
        dot products of a row
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
        select, shift, swap = Signal(k_lanes), Signal(group), Signal()
        m.d.sync += [
            select.eq(Mux(self.load.valid & ~load.by_row, Mux(load.whole, (1 << tile_beats) - 1, 1) << load.index, 0)),
            swap.eq(self.row.valid & row.swap),
        ]
        for position in range(group):
            has_row = load.index[exact_log2(stride):] == position
            m.d.sync += shift[position].eq(self.load.valid & load.by_row & has_row)

        # Stages 1, 2, 3 + position: skewed controls, beats, operands. Rows come in the first beat. Of the other beats a
        # position reads its own lanes only, and synthesis drops the rest.
        selects = _delays(m, select, group - 1, "select", reset=True)
        shifts = _delays(m, shift, group - 1, "shift", reset=True)
        swaps = _delays(m, swap, group - 1, "swap", reset=True)
        beats = _delays(m, load.data, group + 1, "beat")[2:]
        operands = []
        for position in range(group):
            part = row.operands.as_value().word_select(position, stride * OPERAND_BITS)
            operands.append(_delays(m, part, 3 + position, f"operands_{position}")[-1])

        lane = PackedDotProduct if self.config.packed else DotProduct
        for index in range(n_lanes // lane.COLUMNS):
            m.submodules[f"column_{index}"] = column = Column(lane, k_lanes, self.packing)
            m.d.comb += [
                column.shift.eq(Cat(shifts[position][position] for position in range(group))),
                column.swap.eq(Cat(swaps)),
                column.operands.eq(Cat(operands)),
            ]
            for i, n in enumerate(range(index * lane.COLUMNS, (index + 1) * lane.COLUMNS)):
                part = n % (tile_beats * ratio) * group  # of the group of beats: where the column's weights begin
                m.d.comb += [
                    column.select[i].eq(Cat(select[n // ratio] for select in selects)),
                    column.weights[i].eq(Cat(beat.word_select(part + position, stride * WEIGHT_BITS)
                                             for position, beat in enumerate(beats))),
                    column.row[i].eq(Cat(beat.word_select(n, WEIGHT_BITS) for beat in beats)),
                    self.dots[n].eq(column.dots[i]),
                ]

        # Stages 1 to latency - lead: what to do with the dots.
        ahead = _delays(m, Cat(row.address, row.operation, row.last), self.latency - self.lead, "ahead")[-1]
        valid = _delays(m, self.row.valid, self.latency - self.lead, "valid", reset=True)[-1]
        m.d.comb += [self.ahead.valid.eq(valid), self.ahead.payload.eq(ahead)]
        return m
