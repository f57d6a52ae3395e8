# SPDX-License-Identifier: Apache-2.0
"""Addresses of the wide bus into addresses of the narrow ports that share it."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from ..interfaces import Flow
from .axi import address_layout
from .bursts import BURST_BEATS

__all__ = ["SpreadAddress", "covers", "places_layout"]


def places_layout() -> data.StructLayout:
    """A burst of the wide bus among the 16 beats between two multiples of 16: places of its first and its last beat."""
    return data.StructLayout({"first": exact_log2(BURST_BEATS), "last": exact_log2(BURST_BEATS)})


def covers(places: data.View, port: int, ports: int) -> Value:
    """Whether a burst has a block of ``port``, one of ``ports``."""
    block_bits = exact_log2(BURST_BEATS // ports)
    return (places.first[block_bits:] <= port) & (places.last[block_bits:] >= port)


class SpreadAddress(Component):
    """Cuts each wide burst into blocks, of which each port gets at most one, as one burst of its own.

    A block is 16 beats of a port, ``16 / ports`` beats of the wide bus: block b of the memory belongs to port b mod
    ``ports``. No wide burst may cross a multiple of 16 beats (``BurstSplitter``), so that it has at most one block per
    port, and all of them are shown at once, one cycle after the wide burst was.

    A burst is taken when all ports have taken those of the burst before, and ``enable`` is set.

    Parameters
    ----------
    bus_bytes : bytes per beat of the wide bus
    ports : narrow ports, each ``bus_bytes / ports`` wide; a power of two, 2..16

    Members
    -------
    i : stream of the wide bus's AR or AW
    o : the ports' AR, or what ``ScatterPort`` shows on their AW
    enable : there is room for a burst
    taken : Flow, the places of the burst that was taken
    idle : no address waits on ``o``
    """

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
        block_bits = place_bits - port_bits  # of a beat's place in its block
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
            begin, end = Signal(block_bits, name=f"begin_{index}"), Signal(block_bits, name=f"end_{index}")
            m.d.comb += [
                begin.eq(Mux(first[block_bits:] == index, first, 0)),
                end.eq(Mux(last[block_bits:] == index, last, BURST_BEATS - 1)),
            ]
            with m.If(self.taken.valid):
                m.d.sync += [
                    port.valid.eq(covers(places, index, self._ports)),
                    port.payload.addr.eq(Cat(C(0, self._shift), begin, C(index, port_bits),
                                             address[self._shift + place_bits:])),
                    # A beat of the wide bus is `ports` of the port's.
                    port.payload.len.eq(Cat(C(self._ports - 1, port_bits), (end - begin)[:block_bits])),
                ]
            with m.Elif(port.ready):
                m.d.sync += port.valid.eq(0)
        return m
