# SPDX-License-Identifier: Apache-2.0
"""Reads of the bus over several narrow ports."""

from amaranth import *
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from .axi import ReadChannels
from .bursts import OUTSTANDING
from .gather_port import GatherPort
from .read_master import QUIET_CYCLES
from .spread_address import SpreadAddress
from .spread_order import SpreadOrder

__all__ = ["SpreadRead"]


class SpreadRead(Component):
    """Asks the ports for the stripes of each burst (``SpreadAddress``), and answers in the order of addresses.

    The ports answer when they like: each has room for all bursts that are under way (``GatherPort``), so RREADY is
    constantly 1.

    The response of a bus beat is the bitwise or of its parts' responses. RLAST at a wrong transfer of a port appears as
    RLAST at a wrong bus beat, at the one concerned, and ends the burst. The other bursts under way are then answered
    with bus beats of no content, and the transfers of the ports are thrown away. The unit is not ``drained`` until the
    ports owe nothing and have been silent for 256 cycles.

    Latency: 1 cycle from AR to AR of the ports (`latency_address`), 2 cycles from R of a port to R (`latency`).
    Throughput: one bus beat per cycle where each port gives one beat per cycle.
    Back-pressure: AR waits while ``outstanding`` bursts are under way or an AR of a port waits; R of the ports never
    waits.

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
    wide : In(ReadChannels(bus_bytes))
        AR and R of the read master
    narrow : Out(ReadChannels(bus_bytes / ports)), an array of ports
        AR and R of each port
    drained : Out(1)
        the ports owe nothing but what the read master waits for
    """

    latency_address = SpreadAddress.latency
    latency = GatherPort.latency

    def __init__(self, bus_bytes: int, ports: int, outstanding: int = OUTSTANDING):
        self._bytes, self._ports, self._outstanding = bus_bytes, ports, outstanding
        super().__init__({
            "wide": In(ReadChannels(bus_bytes)),
            "narrow": Out(ReadChannels(bus_bytes // ports)).array(ports),
            "drained": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
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
        wrong = self._answer(m, order, ports, broken)
        busy = Signal()
        m.d.comb += busy.eq(self.wide.ar.valid | ~address.idle | order.valid
                            | Cat(port.owed | port.arrived for port in ports).any())
        self._recover(m, order.advance & wrong, busy, broken)
        return m

    def _answer(self, m: Module, order: SpreadOrder, ports: list[GatherPort], broken: Value) -> Signal:
        """R: the next bus beat, from the port whose turn it is. Returns whether its RLAST is wrong."""
        r, has_beat, wrong = self.wide.r, Signal(), Signal()
        with m.Switch(order.port):
            for index, port in enumerate(ports):
                with m.Case(index):
                    m.d.comb += [
                        has_beat.eq(port.o.valid),
                        wrong.eq(port.o.payload.wrong & ~broken),
                        r.payload.data.eq(port.o.payload.data),
                        r.payload.resp.eq(Mux(broken, 0, port.o.payload.resp)),
                        port.o.ready.eq(order.advance),
                    ]
        m.d.comb += [
            r.valid.eq(order.valid & (has_beat | broken)),
            r.payload.last.eq(order.ends_burst ^ wrong),
            order.advance.eq(r.valid & r.ready),
            order.leave.eq(wrong),
        ]
        return wrong

    def _recover(self, m: Module, violation: Value, busy: Value, broken: Signal) -> None:
        """``broken`` from a violation of the protocol until the ports have been silent."""
        quiet_left = Signal(range(QUIET_CYCLES + 1))
        with m.If(violation):
            m.d.sync += [broken.eq(1), quiet_left.eq(QUIET_CYCLES)]
        with m.Elif(busy):
            m.d.sync += quiet_left.eq(QUIET_CYCLES)
        with m.Elif(quiet_left != 0):
            m.d.sync += quiet_left.eq(quiet_left - 1)
        with m.Else():
            m.d.sync += broken.eq(0)
        m.d.comb += self.drained.eq(~broken)
