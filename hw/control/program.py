# SPDX-License-Identifier: Apache-2.0
"""The program memory: filled beat by beat, read by instructions."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import INSTRUCTION_BYTES

from ..interfaces import MemoryRead
from ..layouts import instruction_layout

__all__ = ["Program"]


class Program(wiring.Component):
    """Stores the beats of the program, from instruction 0 on, while ``fill`` is set.

    Latency: 1 cycle from a ``read`` to its data; 1 cycle from an instruction's last beat to ``filled`` (`latency`).
    Throughput: one beat and one read per cycle.
    Back-pressure: ``beats`` waits unless ``fill`` is set.

    Parameters
    ----------
    config : MachineConfig
        bytes of a beat, length of the program memory

    Members
    -------
    fill : In(1)
        take beats; while it is low, the next beat is the first of instruction 0
    beats : In(stream.Signature(8 x n_lanes))
        ``64 / n_lanes`` beats per instruction
    filled : Out(range(program_length + 1))
        complete instructions
    read : In(MemoryRead(program_length, instruction_layout()))
        an instruction
    """

    latency = 1

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "fill": In(1),
            "beats": In(stream.Signature(8 * config.beat_bytes)),
            "filled": Out(range(config.program_length + 1)),
            "read": In(MemoryRead(config.program_length, instruction_layout())),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        parts = INSTRUCTION_BYTES // self._config.beat_bytes
        shape = data.ArrayLayout(8 * self._config.beat_bytes, parts)
        m.submodules.memory = memory = Memory(shape=shape, depth=self._config.program_length, init=[])
        write, read = memory.write_port(granularity=1), memory.read_port()
        m.d.comb += [
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            Value.cast(self.read.data).eq(read.data),
        ]

        part = Signal(range(max(parts, 2)))
        m.d.comb += [
            self.beats.ready.eq(self.fill),
            write.addr.eq(self.filled),
            write.en.eq(Mux(self.fill & self.beats.valid, 1 << part[:exact_log2(parts)], 0)),
            *(write.data[index].eq(self.beats.payload) for index in range(parts)),
        ]
        with m.If(~self.fill):
            m.d.sync += [part.eq(0), self.filled.eq(0)]
        with m.Elif(self.beats.valid):
            m.d.sync += part.eq(part + 1)
            with m.If(part == parts - 1):
                m.d.sync += [part.eq(0), self.filled.eq(self.filled + 1)]
        return m
