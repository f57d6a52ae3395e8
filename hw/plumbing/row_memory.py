# SPDX-License-Identifier: Apache-2.0
"""A memory whose depth is a little more than block RAMs hold."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ..interfaces import MemoryRead, MemoryWrite

__all__ = ["RowMemory"]

_BLOCK = 512  # words of a block RAM at its full width
_LUT_RAM = 128  # most words that are cheaper in LUTs than in a row of block RAMs


class RowMemory(wiring.Component):
    """A memory with one write port and several read ports; a few words more than whole block RAMs are in LUTs.

    Networks with a CLS token have one row more per image than a power of two, which would take a row of block RAMs for
    a few words. Every reader has its own copy, so that one copy may be UltraRAM and the next block RAM. A read gives
    what was stored before its cycle.

    Latency: 1 cycle from ``address`` of a read to its ``data`` (`latency`).
    Throughput: one write, and one read per port, in every cycle.
    Back-pressure: none.

    Parameters
    ----------
    depth : int
        number of words
    shape : ShapeLike
        shape of a word
    readers : int
        number of read ports
    granules : int
        parts of a word that are written separately

    Members
    -------
    write : In(MemoryWrite(depth, shape, granules))
        write port
    read_0, read_1, ... : In(MemoryRead(depth, shape))
        read ports; also `reads`, as a list
    """

    latency = 1

    def __init__(self, depth: int, shape: ShapeLike, readers: int = 1, granules: int = 1):
        self._depth, self._shape, self._granules = depth, shape, granules
        super().__init__({
            "write": In(MemoryWrite(depth, shape, granules)),
            **{f"read_{index}": In(MemoryRead(depth, shape)) for index in range(readers)},
        })
        self.reads = [getattr(self, f"read_{index}") for index in range(readers)]

    def elaborate(self, platform) -> Module:
        m = Module()
        tail = self._depth % _BLOCK
        in_blocks = self._depth - tail if self._depth > _BLOCK and 0 < tail <= _LUT_RAM else self._depth
        banks = [(0, in_blocks)] + ([(in_blocks, tail)] if in_blocks < self._depth else [])
        outputs: list[list] = [[] for _ in self.reads]
        for start, depth in banks:
            width = ceil_log2(depth)
            to_bank = ((self.write.address >= in_blocks) == (start > 0)) if len(banks) > 1 else 1
            for index, (port, output) in enumerate(zip(self.reads, outputs, strict=True)):
                memory = Memory(shape=self._shape, depth=depth, init=[])
                m.submodules[f"from_{start}_{index}"] = memory
                write = memory.write_port(granularity=len(self.write.data) // self._granules)
                read = memory.read_port()
                m.d.comb += [
                    write.en.eq(Mux(to_bank, self.write.enable, 0)),
                    write.addr.eq(self.write.address[:width]),
                    write.data.eq(self.write.data),
                    read.en.eq(port.enable),
                    read.addr.eq(port.address[:width]),
                ]
                output.append(read.data)
        for index, (port, output) in enumerate(zip(self.reads, outputs, strict=True)):
            m.d.comb += port.data.eq(output[0])
            if len(banks) > 1:
                from_tail = Signal(name=f"from_tail_{index}", reset_less=True)
                with m.If(port.enable):
                    m.d.sync += from_tail.eq(port.address >= in_blocks)
                with m.If(from_tail):
                    m.d.comb += port.data.eq(output[1])
        return m
