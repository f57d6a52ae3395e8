# SPDX-License-Identifier: Apache-2.0
"""The compute unit: every matrix product of the network goes through this one array and accumulator."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig

from ..interfaces import Flow, load_layout, row_layout, sums_layout
from .accumulator import Accumulator
from .array import Array, array_latency

__all__ = ["Compute"]


class Compute(wiring.Component):
    """Rows x tiles -> sums: `Array` and `Accumulator`.

    Golden: numpy's integer ``@``, sums s27. One row and one beat per cycle, no back-pressure: whoever sends a last row
    has room for its sums ``latency`` cycles later. ``packed`` in the configuration halves the multipliers and changes
    neither bits nor latency.

    Parameters
    ----------
    config : the machine's configuration

    Members
    -------
    load : Flow in, beats of the shadow tile: whole tiles, by columns in any order or by rows in order
    row : Flow in, operands of a row and what to do with its dot products
    sums : Flow out, sums of last rows, in order
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
