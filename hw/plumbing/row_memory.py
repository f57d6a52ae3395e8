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

_BLOCK = 512  # words that a block RAM holds at its full width
_LUT_RAM = 128  # words that are cheaper in LUTs than in a row of block RAMs


class RowMemory(wiring.Component):
    """One write port and ``readers`` read ports. Words beyond the last whole block are in LUTs if they are few.

    Networks with a CLS token need a row more than a power of two per image: a row of block RAMs for a few words.
    Every reader has a copy of its own, so that one may be UltraRAM and the next block RAM.
    A read gives what was stored before its cycle. Latency: one cycle.

    Members
    -------
    write : In(MemoryWrite)
    read_0, read_1, ... : In(MemoryRead)
    """

    def __init__(self, depth: int, shape: ShapeLike, readers: int = 1, granules: int = 1):
        self._depth, self._shape, self._granules = depth, shape, granules
        super().__init__({
            "write": In(MemoryWrite(depth, shape, granules)),
            **{f"read_{index}": In(MemoryRead(depth, shape)) for index in range(readers)},
        })
        self.reads = [getattr(self, f"read_{index}") for index in range(readers)]

    def elaborate(self, platform) -> Module:
        m = Module()
        rest = self._depth % _BLOCK
        main = self._depth - rest if self._depth > _BLOCK and 0 < rest <= _LUT_RAM else self._depth
        banks = [(0, main)] + ([(main, rest)] if main < self._depth else [])
        outputs: list[list] = [[] for _ in self.reads]
        for start, depth in banks:
            width = ceil_log2(depth)
            here = ((self.write.address >= main) == (start > 0)) if len(banks) > 1 else 1
            for index, (port, output) in enumerate(zip(self.reads, outputs, strict=True)):
                memory = Memory(shape=self._shape, depth=depth, init=[])
                m.submodules[f"from_{start}_{index}"] = memory
                write = memory.write_port(granularity=len(self.write.data) // self._granules)
                read = memory.read_port()
                m.d.comb += [
                    write.en.eq(Mux(here, self.write.enable, 0)),
                    write.addr.eq(self.write.address[:width]),
                    write.data.eq(self.write.data),
                    read.en.eq(port.enable),
                    read.addr.eq(port.address[:width]),
                ]
                output.append(read.data)
        for index, (port, output) in enumerate(zip(self.reads, outputs, strict=True)):
            m.d.comb += port.data.eq(output[0])
            if len(banks) > 1:
                beyond = Signal(name=f"beyond_{index}", reset_less=True)
                with m.If(port.enable):
                    m.d.sync += beyond.eq(port.address >= main)
                with m.If(beyond):
                    m.d.comb += port.data.eq(output[1])
        return m
