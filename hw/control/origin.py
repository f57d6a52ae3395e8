# SPDX-License-Identifier: Apache-2.0
"""Remembers which instruction asked for a beat, so that an error can name the instruction."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..interfaces import Flow
from ..layouts import SEQUENCE_BITS
from .error_latch import PC_BITS

__all__ = ["Origin", "asked_layout"]

#: Commands whose beats have not all come: one per burst under way, and a few that are cut into bursts.
_COMMANDS = 16


def asked_layout() -> data.StructLayout:
    """The place of an instruction, and the bus beats that it asked for, less one."""
    return data.StructLayout({"pc": PC_BITS, "last": 24})


class Origin(wiring.Component):
    """Keeps the places in the program that commands and dispatched instructions came from.

    Latency: 1 cycle from ``asked`` to ``command_pc`` (`latency`); 2 cycles from ``finished`` to ``oldest_pc``
    (`latency_oldest`). ``beat_pc`` belongs to the ``beat`` of the same cycle.
    Throughput: one command, one beat and one dispatch per cycle.
    Back-pressure: ``asked`` must wait without ``room``.

    Parameters
    ----------
    depth : int
        instructions that may be dispatched and not finished; a power of two

    Members
    -------
    clear : In(1)
        forgets the commands
    asked : In(Flow(asked_layout()))
        a command that the read master takes; only with ``room``
    room : Out(1)
        one more command may be asked
    beat : In(1)
        a bus beat came in the cycle before this one
    dispatched : In(1)
        an instruction is dispatched
    dispatched_pc : In(13)
        its place
    sequence : In(16)
        its number
    finished : In(16)
        instructions finished, modulo 2^16
    command_pc : Out(13)
        place of the latest command's instruction
    beat_pc : Out(13)
        place of the instruction that asked for ``beat``
    oldest_pc : Out(13)
        place of the oldest unfinished instruction, if they finish in order
    """

    latency = 1
    latency_oldest = 2

    def __init__(self, depth: int = 64):
        if depth < 1 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, not {depth!r}")
        self._depth = depth
        super().__init__({
            "clear": In(1),
            "asked": In(Flow(asked_layout())),
            "room": Out(1),
            "beat": In(1),
            "dispatched": In(1),
            "dispatched_pc": In(PC_BITS),
            "sequence": In(SEQUENCE_BITS),
            "finished": In(SEQUENCE_BITS),
            "command_pc": Out(PC_BITS),
            "beat_pc": Out(PC_BITS),
            "oldest_pc": Out(PC_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        # A FIFO whose output is a register: a beat comes several cycles after its command.
        fifo = SyncFIFOBuffered(width=asked_layout().size, depth=_COMMANDS + 1)
        m.submodules.fifo = ResetInserter(self.clear)(fifo)
        head = data.View(asked_layout(), fifo.r_data)
        arrived = Signal(24)  # beats of the head
        m.d.comb += [
            self.room.eq(fifo.w_rdy),
            fifo.w_en.eq(self.asked.valid),
            fifo.w_data.eq(self.asked.payload),
            self.beat_pc.eq(head.pc),
            fifo.r_en.eq(self.beat & (arrived == head.last)),
        ]
        with m.If(self.clear | fifo.r_en):
            m.d.sync += arrived.eq(0)
        with m.Elif(self.beat):
            m.d.sync += arrived.eq(arrived + 1)
        with m.If(self.asked.valid):
            m.d.sync += self.command_pc.eq(self.asked.payload.pc)

        m.submodules.places = places = Memory(shape=PC_BITS, depth=self._depth, init=[])
        write, read = places.write_port(), places.read_port()
        low = exact_log2(self._depth)
        m.d.comb += [
            write.en.eq(self.dispatched),
            write.addr.eq(self.sequence[:low]),
            write.data.eq(self.dispatched_pc),
            read.en.eq(1),
            read.addr.eq(self.finished[:low]),
        ]
        m.d.sync += self.oldest_pc.eq(Mux(self.finished == self.sequence, self.dispatched_pc, read.data))
        return m
