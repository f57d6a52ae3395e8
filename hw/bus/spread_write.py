# SPDX-License-Identifier: Apache-2.0
"""Writes of the bus over several narrow ports."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from .axi import WriteChannels
from .bursts import OUTSTANDING
from .scatter_port import ScatterPort
from .spread_address import SpreadAddress, covers, places_layout
from .spread_order import SpreadOrder

__all__ = ["SpreadWrite"]


class SpreadWrite(Component):
    """Hands the bus beats of each burst to the ports that they belong to (``SpreadAddress``, ``ScatterPort``).

    A port shows no address before it has all data of the stripe, so that ports may meet in any arbiter (ADR 0018). On
    neither channel a VALID waits for a READY of the other. A burst is answered when each port has answered its stripe;
    the response is the bitwise or of theirs.

    Latency: 2 cycles from W to W of a port (`latency`), 2 cycles from the last bus beat of a stripe to AW of its port
    (`latency_address`), 2 cycles from the last B of a port to B (`latency_answer`).
    Throughput: one bus beat per cycle where each port takes one beat per cycle.
    Back-pressure: AW waits while ``outstanding`` bursts are under way or the addresses of the burst before wait; W
    waits for its burst on AW, and while a port holds two stripes: a port that stands still stops the others.

    Parameters
    ----------
    bus_bytes : int
        bytes of a bus beat
    ports : int
        ports that share the bus, a power of two, 2 to 16
    outstanding : int
        bursts under way at most

    Members
    -------
    wide : In(WriteChannels(bus_bytes))
        AW, W and B of the write master
    narrow : Out(WriteChannels(bus_bytes / ports)), an array of ports
        AW, W and B of each port
    drained : Out(1)
        nothing is under way on any port
    """

    latency = ScatterPort.latency
    latency_address = ScatterPort.latency_address
    latency_answer = ScatterPort.latency_answer

    def __init__(self, bus_bytes: int, ports: int, outstanding: int = OUTSTANDING):
        self._bytes, self._ports, self._outstanding = bus_bytes, ports, outstanding
        super().__init__({
            "wide": In(WriteChannels(bus_bytes)),
            "narrow": Out(WriteChannels(bus_bytes // ports)).array(ports),
            "drained": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        w = self.wide.w
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
                port.i.payload.last.eq(order.ends_stripe),
            ]

        with m.Switch(order.port):
            for index, port in enumerate(ports):
                with m.Case(index):
                    m.d.comb += [port.i.valid.eq(w.valid & order.valid), w.ready.eq(port.i.ready & order.valid)]
        m.d.comb += order.advance.eq(w.valid & w.ready)

        self._answer(m, unanswered, ports)
        m.d.comb += self.drained.eq(address.idle & ~order.valid & ~unanswered.r_rdy
                                    & Cat(port.idle for port in ports).all())
        return m

    def _answer(self, m: Module, unanswered: SyncFIFO, ports: list[ScatterPort]) -> None:
        """B, when all ports with a stripe of the oldest burst have answered."""
        b, oldest = self.wide.b, data.View(places_layout(), unanswered.r_data)
        concerned = [covers(oldest, index, self._ports) for index in range(self._ports)]
        answers = list(zip(concerned, (port.answer for port in ports), strict=True))
        m.d.comb += [
            b.valid.eq(unanswered.r_rdy & Cat(~mine | answer.valid for mine, answer in answers).all()),
            b.payload.resp.eq(reduce(or_, [Mux(mine, answer.payload, 0) for mine, answer in answers])),
            unanswered.r_en.eq(b.valid & b.ready),
            *(answer.ready.eq(mine & unanswered.r_en) for mine, answer in answers),
        ]
