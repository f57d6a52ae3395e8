# SPDX-License-Identifier: Apache-2.0
"""Reads of the wide bus over several narrow ports."""

from amaranth import *
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from .axi import ReadChannels
from .gather_port import GatherPort
from .read_master import QUIET_CYCLES
from .spread_address import SpreadAddress
from .spread_order import SpreadOrder

__all__ = ["SpreadRead"]


class SpreadRead(Component):
    """Asks the narrow ports for what a wide burst asks for (``SpreadAddress``) and answers in the order of addresses.

    The ports answer when they like: each has room for all bursts that are under way (``GatherPort``), so RREADY is
    constantly 1. Throughput one wide beat a cycle where each port gives one of its beats a cycle. One cycle from AR to
    the ports' AR, two from a port's R to R.

    RRESP of a wide beat is the or of its parts'. RLAST at a wrong beat of a port appears as RLAST at a wrong beat of
    the wide bus, in the wide beat concerned, and ends the wide burst. The other bursts under way are then answered with
    beats of no content, whatever their ports send is thrown away, and the unit is not ``drained`` until the ports owe
    nothing and have been silent for 256 cycles.

    Parameters
    ----------
    bus_bytes, ports : as in ``SpreadAddress``
    outstanding : wide bursts under way at most

    Members
    -------
    wide : AR and R of the read master
    narrow : AR and R of each port
    drained : the ports owe nothing but what the read master waits for
    """

    def __init__(self, bus_bytes: int, ports: int, outstanding: int = 8):
        self._bytes, self._ports, self._outstanding = bus_bytes, ports, outstanding
        super().__init__({
            "wide": In(ReadChannels(bus_bytes)),
            "narrow": Out(ReadChannels(bus_bytes // ports)).array(ports),
            "drained": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        r = self.wide.r
        broken = Signal()  # a port broke the protocol
        m.submodules.address = address = SpreadAddress(self._bytes, self._ports)
        m.submodules.order = order = SpreadOrder(self._ports, self._outstanding)
        connect(m, flipped(self.wide.ar), address.i)
        connect(m, address.taken, order.burst)
        m.d.comb += address.enable.eq(order.room)

        ports = [GatherPort(self._bytes, self._ports, self._outstanding) for _ in range(self._ports)]
        for index, (port, narrow) in enumerate(zip(ports, self.narrow, strict=True)):
            m.submodules[f"port_{index}"] = port
            connect(m, address.o[index], flipped(narrow.ar))
            connect(m, flipped(narrow.r), port.r)
            m.d.comb += [
                port.expect.valid.eq(narrow.ar.valid & narrow.ar.ready),
                port.expect.payload.eq(narrow.ar.payload.len[exact_log2(self._ports):]),
                port.discard.eq(broken),
            ]

        # The next wide beat, from the port whose turn it is.
        there, wrong = Signal(), Signal()
        with m.Switch(order.port):
            for index, port in enumerate(ports):
                with m.Case(index):
                    m.d.comb += [
                        there.eq(port.o.valid),
                        wrong.eq(port.o.payload.wrong & ~broken),
                        r.payload.data.eq(port.o.payload.data),
                        r.payload.resp.eq(Mux(broken, 0, port.o.payload.resp)),
                        port.o.ready.eq(order.step),
                    ]
        m.d.comb += [
            r.valid.eq(order.valid & (there | broken)),
            r.payload.last.eq(order.ends_burst ^ wrong),
            order.step.eq(r.valid & r.ready),
            order.leave.eq(wrong),
        ]

        busy = Signal()
        quiet = Signal(range(QUIET_CYCLES + 1))  # cycles left
        m.d.comb += busy.eq(self.wide.ar.valid | ~address.idle | order.valid
                            | Cat(port.owed | port.heard for port in ports).any())
        with m.If(order.step & wrong):
            m.d.sync += [broken.eq(1), quiet.eq(QUIET_CYCLES)]
        with m.Elif(busy):
            m.d.sync += quiet.eq(QUIET_CYCLES)
        with m.Elif(quiet != 0):
            m.d.sync += quiet.eq(quiet - 1)
        with m.Else():
            m.d.sync += broken.eq(0)
        m.d.comb += self.drained.eq(~broken)
        return m
