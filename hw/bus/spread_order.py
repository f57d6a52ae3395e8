# SPDX-License-Identifier: Apache-2.0
"""The order in which the bus beats belong to the ports."""

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
    """Goes through the bus beats of bursts, oldest burst first, and names the port of each.

    Latency: 1 cycle from ``burst`` to its first bus beat (`latency`).
    Throughput: one bus beat per cycle.
    Back-pressure: ``burst`` must wait without ``room``.

    Parameters
    ----------
    ports : int
        ports that share the bus
    outstanding : int
        bursts that fit

    Members
    -------
    burst : In(Flow(places_layout()))
        places of a burst that is taken; only with ``room``
    room : Out(1)
        one more burst fits
    valid : Out(1)
        there is a bus beat
    port : Out(exact_log2(ports))
        the port that it belongs to
    ends_stripe, ends_burst : Out(1)
        it is the last one of its stripe, of its burst
    advance : In(1)
        go to the next bus beat
    leave : In(1)
        with ``advance``: go to the next burst
    """

    latency = 1

    def __init__(self, ports: int, outstanding: int):
        self._ports, self._outstanding = ports, outstanding
        super().__init__({
            "burst": In(Flow(places_layout())),
            "room": Out(1),
            "valid": Out(1),
            "port": Out(exact_log2(ports)),
            "ends_stripe": Out(1),
            "ends_burst": Out(1),
            "advance": In(1),
            "leave": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        stripe_bits = exact_log2(BURST_BEATS // self._ports)
        m.submodules.bursts = bursts = SyncFIFO(width=places_layout().size, depth=self._outstanding)
        oldest = data.View(places_layout(), bursts.r_data)
        begun, next_place, place = Signal(), Signal.like(oldest.first), Signal.like(oldest.first)
        m.d.comb += [
            bursts.w_en.eq(self.burst.valid),
            bursts.w_data.eq(self.burst.payload),
            self.room.eq(bursts.w_rdy),
            place.eq(Mux(begun, next_place, oldest.first)),
            self.valid.eq(bursts.r_rdy),
            self.port.eq(place[stripe_bits:]),
            self.ends_burst.eq(place == oldest.last),
            self.ends_stripe.eq(self.ends_burst | place[:stripe_bits].all()),
            bursts.r_en.eq(self.advance & (self.ends_burst | self.leave)),
        ]
        with m.If(self.advance):
            m.d.sync += [next_place.eq(place + 1), begun.eq(~bursts.r_en)]
        return m
