# SPDX-License-Identifier: Apache-2.0
"""The accumulator: the sums of every row of a pass, over its k-tiles."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, DIGIT_BITS

from ..interfaces import Flow
from ..layouts import Accumulate, sums_layout
from .lane import sum_bits

__all__ = ["Accumulator", "accumulate_layout", "dots_layout"]


def accumulate_layout(config: MachineConfig) -> data.Layout:
    """What to do with the dot products of a row; fields as in `layouts.row_layout`."""
    return data.StructLayout({
        "address": ceil_log2(config.max_tokens),
        "operation": Accumulate,
        "last": 1,
    })


def dots_layout(config: MachineConfig) -> data.Layout:
    """Dot products of one row with one tile: n_lanes signed sums of k_lanes products."""
    return data.ArrayLayout(signed(sum_bits(config.k_lanes)), config.n_lanes)


class Accumulator(wiring.Component):
    """Adds up the dot products of each row over the k-tiles.

    By ``operation``: ``sum = dot``, ``sum = sum + dot``, or (gates of three sweeps) ``sum = round(sum / 128) + dot``.
    With ``last`` the sums leave; otherwise they are stored.

    Sums are s27. The compiler sees to it that they fit. An address may come again after `REUSE` cycles; it never comes
    sooner, since a tile takes at least ``k_lanes / tile_beats + 1`` cycles, which is 5 or more.

    Golden: ``golden.integer.rounding.round_shift``.
    Latency: 1 cycle from ``dots`` to ``sums`` (`latency`); ``ahead`` comes 3 cycles before its ``dots`` (`LEAD`).
    Throughput: one row per cycle.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        `n_lanes`, `max_tokens`, and whether gates take three sweeps

    Members
    -------
    ahead : In(Flow(accumulate_layout(config)))
        what to do with the dots that come `LEAD` cycles later
    dots : In(dots_layout(config))
        dot products of a row
    sums : Out(Flow(sums_layout(config)))
        the sums of a last row
    """

    LEAD = 3
    latency = 1
    REUSE = 5

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__({
            "ahead": In(Flow(accumulate_layout(config))),
            "dots": In(dots_layout(config)),
            "sums": Out(Flow(sums_layout(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        n_lanes = self.config.n_lanes
        layout = accumulate_layout(self.config)
        # A flat word, so that the tools lay block RAMs side by side.
        m.submodules.memory = memory = Memory(shape=ACCUMULATOR_BITS * n_lanes, depth=self.config.max_tokens, init=[])
        read, write = memory.read_port(), memory.write_port()

        row, valid = [self.ahead.payload], [self.ahead.valid]  # by stage
        for stage in range(1, self.LEAD + self.latency + 1):
            row.append(Signal(layout, name=f"row_{stage}", reset_less=True))
            valid.append(Signal(name=f"valid_{stage}"))
            m.d.sync += [row[-1].eq(row[-2]), valid[-1].eq(valid[-2])]

        # Stage 0: read.
        m.d.comb += [read.en.eq(valid[0]), read.addr.eq(row[0].address)]
        # Stage 1: the memory's output register.
        stored = Signal(ACCUMULATOR_BITS * n_lanes, reset_less=True)
        m.d.sync += stored.eq(read.data)

        adds = row[2].operation == Accumulate.ADD
        shifts = (row[2].operation == Accumulate.SHIFT_ADD) if self.config.gate_sweeps == 3 else C(0)
        sums = []
        for lane in range(n_lanes):
            old = stored.word_select(lane, ACCUMULATOR_BITS).as_signed()
            base = Signal(signed(ACCUMULATOR_BITS), name=f"base_{lane}", reset_less=True)
            half = Signal(name=f"half_{lane}", reset_less=True)
            total = Signal(signed(ACCUMULATOR_BITS), name=f"sum_{lane}", reset_less=True)
            # Stage 2: what the dot is added to. The adder's carry does the rounding.
            m.d.sync += [
                base.eq(Mux(adds, old, Mux(shifts, old.shift_right(DIGIT_BITS), 0))),
                half.eq(shifts & old[DIGIT_BITS - 1]),
            ]
            # Stage 3: add.
            both = Cat(C(1, 1), base).as_signed() + Cat(half, self.dots[lane]).as_signed()
            m.d.sync += total.eq(both[1:])
            sums.append(total)

        # Stage 4: store or leave.
        done, last = valid[-1], row[-1].last
        m.d.comb += [
            write.en.eq(done & ~last),
            write.addr.eq(row[-1].address),
            write.data.eq(Cat(sums)),
            self.sums.valid.eq(done & last),
            self.sums.payload.eq(Cat(sums)),
        ]
        return m
