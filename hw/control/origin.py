# SPDX-License-Identifier: Apache-2.0
"""Remembers which instruction asked for what, so that an error can name it."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..interfaces import SEQUENCE_BITS, Flow
from .error_latch import PC_BITS

__all__ = ["Origin", "asked_layout"]

#: Commands whose beats have not all come: a burst each under way, and a few that are being cut.
_COMMANDS = 16


def asked_layout() -> data.StructLayout:
    """Who asked for how many beats, less one."""
    return data.StructLayout({"pc": PC_BITS, "last": 24})


class Origin(wiring.Component):
    """Keeps, for commands and for dispatched instructions, the place in the program that they came from.

    Parameters
    ----------
    depth : instructions that may be dispatched and not finished; a power of two

    Members
    -------
    clear : forgets the commands
    asked : a command to the read master was taken; ``room`` says whether another one may be
    beat : a beat came in the cycle before this one
    dispatched : an instruction is dispatched, from ``dispatched_pc``
    sequence, finished : its number, and how many are finished
    command_pc : of the latest command
    beat_pc : of the beat
    oldest_pc : of the oldest unfinished instruction, if they finish in order; two cycles late
    """

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
        # Its output is a register; a beat comes several cycles after the command.
        fifo = SyncFIFOBuffered(width=asked_layout().size, depth=_COMMANDS + 1)
        m.submodules.fifo = ResetInserter(self.clear)(fifo)
        head = data.View(asked_layout(), fifo.r_data)
        came = Signal(24)  # beats of the head
        m.d.comb += [
            self.room.eq(fifo.w_rdy),
            fifo.w_en.eq(self.asked.valid),
            fifo.w_data.eq(self.asked.payload),
            self.beat_pc.eq(head.pc),
            fifo.r_en.eq(self.beat & (came == head.last)),
        ]
        with m.If(self.clear | fifo.r_en):
            m.d.sync += came.eq(0)
        with m.Elif(self.beat):
            m.d.sync += came.eq(came + 1)
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
