# SPDX-License-Identifier: Apache-2.0
"""The accumulator: running sums of every row of a pass, over its k-tiles."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, DIGIT_BITS

from ..interfaces import Accumulate, Flow, sums_layout
from .lane import sum_bits

__all__ = ["Accumulator", "accumulate_layout", "dots_layout"]


def accumulate_layout(config: MachineConfig) -> data.Layout:
    """What to do with a row's dot products: the fields of the same names in ``interfaces.row_layout``."""
    return data.StructLayout({
        "address": ceil_log2(config.max_tokens),
        "operation": Accumulate,
        "last": 1,
    })


def dots_layout(config: MachineConfig) -> data.Layout:
    """Dot products of one row with one tile: n_lanes signed sums of k_lanes products."""
    return data.ArrayLayout(signed(sum_bits(config.k_lanes)), config.n_lanes)


class Accumulator(wiring.Component):
    """Per row and column ``sum := dot``, ``sum + dot`` or, where a gate takes three sweeps, ``round(sum / 128) + dot``;
    ``last`` sums leave.

    A last row's sums go out instead of being stored. Sums are s27 and must fit: the compiler keeps k below 2072.
    Golden: ``golden.integer.rounding.round_shift`` and numpy's integer addition.
    One row per cycle, no back-pressure. ``latency`` 1 from the dots to the sums. An address may come again after
    ``REUSE`` cycles at the earliest. It never does sooner than a tile is loaded and taken: ``k_lanes / tile_beats + 1``
    cycles, 5 at least.

    Members
    -------
    ahead : Flow in, what to do with the dots that come ``LEAD`` cycles later
    dots : n_lanes dot products
    sums : Flow out, sums of a last row
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
        # One flat word, so that it maps to block RAMs side by side.
        m.submodules.memory = memory = Memory(shape=ACCUMULATOR_BITS * n_lanes, depth=self.config.max_tokens, init=[])
        read, write = memory.read_port(), memory.write_port()

        steps = [self.ahead.payload]
        valid = [self.ahead.valid]
        for stage in range(1, self.LEAD + self.latency + 1):
            step = Signal(layout, name=f"step_{stage}", reset_less=True)
            flag = Signal(name=f"valid_{stage}")
            m.d.sync += [step.eq(steps[-1]), flag.eq(valid[-1])]
            steps.append(step)
            valid.append(flag)

        # Stage 0: read.
        m.d.comb += [read.en.eq(valid[0]), read.addr.eq(steps[0].address)]
        # Stage 1: the memory's output register.
        stored = Signal(ACCUMULATOR_BITS * n_lanes, reset_less=True)
        m.d.sync += stored.eq(read.data)

        adds = steps[2].operation == Accumulate.ADD
        shifts = (steps[2].operation == Accumulate.SHIFT_ADD) if self.config.gate_sweeps == 3 else C(0)
        sums = []
        for lane in range(n_lanes):
            old = stored.word_select(lane, ACCUMULATOR_BITS).as_signed()
            base = Signal(signed(ACCUMULATOR_BITS), name=f"base_{lane}", reset_less=True)
            half = Signal(name=f"half_{lane}", reset_less=True)
            total = Signal(signed(ACCUMULATOR_BITS), name=f"sum_{lane}", reset_less=True)
            # Stage 2: what to add to; rounding is left to the adder's carry.
            m.d.sync += [
                base.eq(Mux(adds, old, Mux(shifts, old.shift_right(DIGIT_BITS), 0))),
                half.eq(shifts & old[DIGIT_BITS - 1]),
            ]
            # Stage 3: add.
            both = Cat(C(1, 1), base).as_signed() + Cat(half, self.dots[lane]).as_signed()
            m.d.sync += total.eq(both[1:])
            sums.append(total)

        # Stage 4: store or leave.
        done, step = valid[-1], steps[-1]
        m.d.comb += [
            write.en.eq(done & ~step.last),
            write.addr.eq(step.address),
            write.data.eq(Cat(sums)),
            self.sums.valid.eq(done & step.last),
            self.sums.payload.eq(Cat(sums)),
        ]
        return m
