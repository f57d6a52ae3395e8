# SPDX-License-Identifier: Apache-2.0
"""Writes of the wide bus over several narrow ports."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from .axi import WriteChannels
from .scatter_port import ScatterPort
from .spread_address import SpreadAddress, covers, places_layout
from .spread_order import SpreadOrder

__all__ = ["SpreadWrite"]


class SpreadWrite(Component):
    """Hands the beats of wide bursts to the narrow ports that they belong to (``SpreadAddress``, ``ScatterPort``).

    Throughput one wide beat a cycle where each port takes one of its beats a cycle. Two cycles from W to a port's W,
    and from the last beat of a block to its address on the port's AW: a port shows no address before it has all of the
    data, so that ports may meet in any arbiter (ADR 0018). On neither channel a VALID waits for a READY of the other.
    A wide burst is answered, with the or of the responses, when each port has answered its part of it, two cycles after
    the last one did. A port that stands still stops the others once two of its blocks wait.

    Parameters
    ----------
    bus_bytes, ports : as in ``SpreadAddress``
    outstanding : wide bursts under way at most

    Members
    -------
    wide : AW, W and B of the write master
    narrow : AW, W and B of each port
    drained : nothing is under way on any port
    """

    def __init__(self, bus_bytes: int, ports: int, outstanding: int = 8):
        self._bytes, self._ports, self._outstanding = bus_bytes, ports, outstanding
        super().__init__({
            "wide": In(WriteChannels(bus_bytes)),
            "narrow": Out(WriteChannels(bus_bytes // ports)).array(ports),
            "drained": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        w, b = self.wide.w, self.wide.b
        m.submodules.address = address = SpreadAddress(self._bytes, self._ports)
        m.submodules.order = order = SpreadOrder(self._ports, self._outstanding)
        m.submodules.unanswered = unanswered = SyncFIFO(width=places_layout().size, depth=self._outstanding)
        connect(m, flipped(self.wide.aw), address.i)
        connect(m, address.taken, order.burst)
        m.d.comb += [
            address.enable.eq(order.room & unanswered.w_rdy),
            unanswered.w_en.eq(address.taken.valid),
            unanswered.w_data.eq(address.taken.payload),
        ]

        ports = [ScatterPort(self._bytes, self._ports, self._outstanding) for _ in range(self._ports)]
        for index, (port, narrow) in enumerate(zip(ports, self.narrow, strict=True)):
            m.submodules[f"port_{index}"] = port
            connect(m, address.o[index], port.address)
            connect(m, port.aw, flipped(narrow.aw))
            connect(m, port.w, flipped(narrow.w))
            connect(m, flipped(narrow.b), port.b)
            m.d.comb += [
                port.i.payload.data.eq(w.payload.data),
                port.i.payload.strb.eq(w.payload.strb),
                port.i.payload.last.eq(order.ends_block),
            ]

        with m.Switch(order.port):
            for index, port in enumerate(ports):
                with m.Case(index):
                    m.d.comb += [port.i.valid.eq(w.valid & order.valid), w.ready.eq(port.i.ready & order.valid)]
        m.d.comb += order.step.eq(w.valid & w.ready)

        # Of the oldest burst, the ports that owe a response.
        oldest = data.View(places_layout(), unanswered.r_data)
        concerned = [covers(oldest, index, self._ports) for index in range(self._ports)]
        responses = [Mux(mine, port.answer.payload, 0) for mine, port in zip(concerned, ports, strict=True)]
        m.d.comb += [
            b.valid.eq(unanswered.r_rdy & Cat(~mine | port.answer.valid
                                              for mine, port in zip(concerned, ports, strict=True)).all()),
            b.payload.resp.eq(reduce(or_, responses)),
            unanswered.r_en.eq(b.valid & b.ready),
            *(port.answer.ready.eq(mine & unanswered.r_en) for mine, port in zip(concerned, ports, strict=True)),
        ]
        m.d.comb += self.drained.eq(address.idle & ~order.valid & ~unanswered.r_rdy
                                    & Cat(port.idle for port in ports).all())
        return m
