# SPDX-License-Identifier: Apache-2.0
"""A queue for those who reserved their place."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..interfaces import Flow

__all__ = ["ReservedFifo"]


class ReservedFifo(wiring.Component):
    """First in, first out; does not know when it is full, since a :class:`Credit` kept the room.

    One item per cycle; it can leave in the cycle after it came. Reads its (distributed) memory without a clock.

    Parameters
    ----------
    shape : of an item
    depth : items that fit; rounded up to a power of two

    Members
    -------
    i : In(Flow(shape))
    o : Out(stream.Signature(shape))
    """

    def __init__(self, shape: ShapeLike, depth: int):
        if depth < 2:
            raise ValueError(f"a queue of {depth!r} is too short; its depth must be at least 2")
        self._bits = ceil_log2(depth)
        super().__init__({"i": In(Flow(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.i.payload.shape(), depth=1 << self._bits, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        come, gone = Signal(self._bits + 1), Signal(self._bits + 1)
        m.d.comb += [
            write.en.eq(self.i.valid),
            write.addr.eq(come),
            write.data.eq(self.i.payload),
            read.addr.eq(gone),
            self.o.payload.eq(read.data),
            self.o.valid.eq(come != gone),
        ]
        with m.If(self.i.valid):
            m.d.sync += come.eq(come + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += gone.eq(gone + 1)
        return m
