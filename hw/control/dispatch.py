# SPDX-License-Identifier: Apache-2.0
"""Hands each instruction to all units, each of which takes it when it is ready."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..layouts import dispatch_layout

__all__ = ["DISPATCH_DEPTH", "Dispatch"]

#: Instructions that a FIFO holds.
DISPATCH_DEPTH = 32


class Dispatch(wiring.Component):
    """Holds a FIFO of instructions for each unit, which takes them in order.

    Latency: 1 cycle from ``dispatch`` to the outputs (`latency`).
    Throughput: one instruction per cycle.
    Back-pressure: ``dispatch`` waits while one of the FIFOs is full.

    Parameters
    ----------
    depth : int
        instructions per FIFO, at least 1; 32 fit into the smallest distributed memory of an FPGA

    Members
    -------
    dispatch : In(stream.Signature(dispatch_layout()))
        instructions in program order
    loader, reader, writer : Out(stream.Signature(dispatch_layout()))
        the same instructions in the same order
    """

    latency = 1

    def __init__(self, depth: int = DISPATCH_DEPTH):
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
