# SPDX-License-Identifier: Apache-2.0
"""The compute unit: every matrix product of the network goes through this one array and accumulator."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow
from ..layouts import load_layout, row_layout, sums_layout
from .accumulator import Accumulator
from .array import Array, array_latency

__all__ = ["Compute"]


class Compute(wiring.Component):
    """Rows times tiles, added up: `Array` and `Accumulator`. Sums equal numpy's integer ``@``, in s27.

    `packed` in the configuration halves the multipliers and changes neither bits nor latency.

    Latency: ``array_latency(config) + 1`` cycles from a last ``row`` to its ``sums`` (`latency`); 11 on 8x8.
    Throughput: one row and one load per cycle.
    Back-pressure: none. A last row may only enter when its receiver has room for the sums.

    Parameters
    ----------
    config : MachineConfig
        sizes, and the multipliers' shape

    Members
    -------
    load : In(Flow(load_layout(config)))
        beats of the next tile: whole tiles, by columns in any order or by rows in order
    row : In(Flow(row_layout(config)))
        operands of a row, and what to do with its dot products
    sums : Out(Flow(sums_layout(config)))
        sums of last rows, in order
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        self.latency = array_latency(config) + Accumulator.latency
        super().__init__({
            "load": In(Flow(load_layout(config))),
            "row": In(Flow(row_layout(config))),
            "sums": Out(Flow(sums_layout(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.array = array = Array(self.config, lead=Accumulator.LEAD)
        m.submodules.accumulator = accumulator = Accumulator(self.config)
        connect(m, flipped(self.load), array.load)
        connect(m, flipped(self.row), array.row)
        connect(m, array.ahead, accumulator.ahead)
        m.d.comb += accumulator.dots.eq(array.dots)
        connect(m, accumulator.sums, flipped(self.sums))
        return m
