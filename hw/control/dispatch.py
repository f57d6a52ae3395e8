# SPDX-License-Identifier: Apache-2.0
"""Hands each instruction to all units, each of which takes it when it comes to it."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..interfaces import dispatch_layout

__all__ = ["Dispatch"]


class Dispatch(wiring.Component):
    """A queue of instructions per unit; ``dispatch`` is ready when every queue has room. Latency one cycle.

    Parameters
    ----------
    depth : instructions per queue; as deep as an FPGA's small memories are anyway

    Members
    -------
    dispatch : stream in
    loader, reader, writer : streams out, the same instructions in the same order
    """

    def __init__(self, depth: int = 32):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._depth = depth
        instructions = stream.Signature(dispatch_layout())
        super().__init__({"dispatch": In(instructions), "loader": Out(instructions), "reader": Out(instructions),
                          "writer": Out(instructions)})

    def elaborate(self, platform) -> Module:
        m = Module()
        fifos = {}
        for name in ("loader", "reader", "writer"):
            m.submodules[name] = fifos[name] = SyncFIFO(width=dispatch_layout().size, depth=self._depth)
            connect(m, fifos[name].r_stream, flipped(getattr(self, name)))
        m.d.comb += self.dispatch.ready.eq(Cat(fifo.w_rdy for fifo in fifos.values()).all())
        for fifo in fifos.values():
            m.d.comb += [
                fifo.w_data.eq(self.dispatch.payload),
                fifo.w_en.eq(self.dispatch.valid & self.dispatch.ready),
            ]
        return m
