# SPDX-License-Identifier: Apache-2.0
"""Addresses of the bus into addresses of the ports that share it."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from ..interfaces import Flow
from .axi import address_layout
from .bursts import BURST_BEATS

__all__ = ["SpreadAddress", "covers", "places_layout"]


def places_layout() -> data.StructLayout:
    """Places of a burst's first and last bus beat among the 16 between two multiples of 16 bus beats."""
    return data.StructLayout({"first": exact_log2(BURST_BEATS), "last": exact_log2(BURST_BEATS)})


def covers(places: data.View, port: int, ports: int) -> Value:
    """Whether a burst has a stripe of ``port``, one of ``ports``."""
    stripe_bits = exact_log2(BURST_BEATS // ports)
    return (places.first[stripe_bits:] <= port) & (places.last[stripe_bits:] >= port)


class SpreadAddress(Component):
    """Cuts each burst into stripes; each port gets at most one of them, as a burst of its own.

    A stripe is 16 beats of a port, which are ``16 / ports`` bus beats. Stripe s of the memory belongs to port
    ``s mod ports``. No burst may cross a multiple of 16 bus beats (``BurstSplitter``), so it has at most one stripe per
    port, and all of them are shown at once.

    Latency: 1 cycle from ``i`` to ``o`` (`latency`).
    Throughput: one burst per 2 cycles.
    Back-pressure: ``i`` waits until all ports have taken the stripes of the burst before, and for ``enable``.

    Parameters
    ----------
    bus_bytes : int
        bytes of a bus beat
    ports : int
        ports of ``bus_bytes / ports`` bytes that share the bus; a power of two, 2 to 16

    Members
    -------
    i : In(stream.Signature(address_layout()))
        AR or AW of the bus
    o : Out(stream.Signature(address_layout())), an array of ports
        AR of the ports, or what ``ScatterPort`` shows on their AW
    enable : In(1)
        there is room for a burst
    taken : Out(Flow(places_layout()))
        places of the burst that is taken
    idle : Out(1)
        no address waits on ``o``
    """

    latency = 1

    def __init__(self, bus_bytes: int, ports: int):
        self._shift, self._ports = exact_log2(bus_bytes), ports
        super().__init__({
            "i": In(stream.Signature(address_layout())),
            "o": Out(stream.Signature(address_layout())).array(ports),
            "enable": In(1),
            "taken": Out(Flow(places_layout())),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        port_bits = exact_log2(self._ports)
        place_bits = exact_log2(BURST_BEATS)
        stripe_bits = place_bits - port_bits  # of a bus beat's place in its stripe
        address = self.i.payload.addr
        places = self.taken.payload
        first, last = places.first, places.last
        m.d.comb += [
            first.eq(address[self._shift:]),
            last.eq(first + self.i.payload.len),
            self.idle.eq(~Cat(port.valid for port in self.o).any()),
            self.i.ready.eq(self.idle & self.enable),
            self.taken.valid.eq(self.i.valid & self.i.ready),
        ]
        for index, port in enumerate(self.o):
            begin, end = Signal(stripe_bits, name=f"begin_{index}"), Signal(stripe_bits, name=f"end_{index}")
            m.d.comb += [
                begin.eq(Mux(first[stripe_bits:] == index, first, 0)),
                end.eq(Mux(last[stripe_bits:] == index, last, BURST_BEATS - 1)),
            ]
            with m.If(self.taken.valid):
                m.d.sync += [
                    port.valid.eq(covers(places, index, self._ports)),
                    port.payload.addr.eq(Cat(C(0, self._shift), begin, C(index, port_bits),
                                             address[self._shift + place_bits:])),
                    # A bus beat is `ports` beats of the port.
                    port.payload.len.eq(Cat(C(self._ports - 1, port_bits), (end - begin)[:stripe_bits])),
                ]
            with m.Elif(port.ready):
                m.d.sync += port.valid.eq(0)
        return m
