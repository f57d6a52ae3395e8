# SPDX-License-Identifier: Apache-2.0
"""The order in which the beats of wide bursts belong to the narrow ports."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from ..interfaces import Flow
from .bursts import BURST_BEATS
from .spread_address import places_layout

__all__ = ["SpreadOrder"]


class SpreadOrder(Component):
    """Walks over the beats of wide bursts, oldest burst first.

    Parameters
    ----------
    ports : narrow ports that share the wide bus
    outstanding : bursts that fit

    Members
    -------
    burst : Flow, the places of a burst that was taken
    room : there is room for one more
    valid : there is a beat
    port : the port that it belongs to
    ends_block, ends_burst : it is the last of its port's burst, of its wide burst
    step : go to the next beat
    leave : with ``step``, to the next burst
    """

    def __init__(self, ports: int, outstanding: int):
        self._ports, self._outstanding = ports, outstanding
        super().__init__({
            "burst": In(Flow(places_layout())),
            "room": Out(1),
            "valid": Out(1),
            "port": Out(exact_log2(ports)),
            "ends_block": Out(1),
            "ends_burst": Out(1),
            "step": In(1),
            "leave": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        block_bits = exact_log2(BURST_BEATS // self._ports)
        m.submodules.bursts = bursts = SyncFIFO(width=places_layout().size, depth=self._outstanding)
        head = data.View(places_layout(), bursts.r_data)
        begun, following, place = Signal(), Signal.like(head.first), Signal.like(head.first)
        m.d.comb += [
            bursts.w_en.eq(self.burst.valid),
            bursts.w_data.eq(self.burst.payload),
            self.room.eq(bursts.w_rdy),
            place.eq(Mux(begun, following, head.first)),
            self.valid.eq(bursts.r_rdy),
            self.port.eq(place[block_bits:]),
            self.ends_burst.eq(place == head.last),
            self.ends_block.eq(self.ends_burst | place[:block_bits].all()),
            bursts.r_en.eq(self.step & (self.ends_burst | self.leave)),
        ]
        with m.If(self.step):
            m.d.sync += [following.eq(place + 1), begun.eq(~bursts.r_en)]
        return m
