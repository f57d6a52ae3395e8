# SPDX-License-Identifier: Apache-2.0
"""A FIFO whose senders have reserved their places."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..interfaces import Flow

__all__ = ["ReservedFifo"]


class ReservedFifo(wiring.Component):
    """A FIFO that does not know when it is full, since a `Credit` has reserved the place of each item.

    It reads its distributed memory without a clock.

    Latency: 1 cycle from ``i`` to ``o`` (`latency`).
    Throughput: one item per cycle.
    Back-pressure: ``o`` may wait; ``i`` never does.

    Parameters
    ----------
    shape : ShapeLike
        shape of an item
    depth : int
        number of items, at least 2; rounded up to a power of two

    Members
    -------
    i : In(Flow(shape))
        items that come
    o : Out(stream.Signature(shape))
        the same items in order
    """

    latency = 1

    def __init__(self, shape: ShapeLike, depth: int):
        if depth < 2:
            raise ValueError(f"a FIFO of {depth!r} is too short; its depth must be at least 2")
        self._bits = ceil_log2(depth)
        super().__init__({"i": In(Flow(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.i.payload.shape(), depth=1 << self._bits, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        written, taken = Signal(self._bits + 1), Signal(self._bits + 1)
        m.d.comb += [
            write.en.eq(self.i.valid),
            write.addr.eq(written),
            write.data.eq(self.i.payload),
            read.addr.eq(taken),
            self.o.payload.eq(read.data),
            self.o.valid.eq(written != taken),
        ]
        with m.If(self.i.valid):
            m.d.sync += written.eq(written + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += taken.eq(taken + 1)
        return m
