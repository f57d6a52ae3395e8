# SPDX-License-Identifier: Apache-2.0
"""The log behind the PASS_LOG window: when each instruction of the run ended."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from moevit.spec.registers import PASS_LOG_ENTRIES, PASS_LOG_FIELDS

from ..interfaces import MemoryRead

__all__ = ["PassLog", "log_entry_layout", "started_layout"]


def started_layout() -> data.StructLayout:
    """The upper word of an entry: rows, expert and place of an instruction."""
    return data.StructLayout(PASS_LOG_FIELDS)


def log_entry_layout() -> data.StructLayout:
    """An entry of the window: two 32-bit words."""
    return data.StructLayout({"end": 32, "started": started_layout()})


class PassLog(Component):
    """Writes one entry per finished instruction, in the order of dispatch.

    Instructions that finish in the same cycle are written one after the other. Entries beyond those of the window are
    dropped; ``finished`` counts on.

    Latency: 2 cycles from ``done`` to ``finished`` and to the first cycle in which ``read`` may ask for the entry
    (`latency`).
    Throughput: one entry per cycle.
    Back-pressure: ``started`` waits while ``depth`` instructions are unfinished, and during ``clear``.

    Parameters
    ----------
    depth : int
        instructions that may be dispatched and not finished, at least 1

    Members
    -------
    clear : In(1)
        START; forgets instructions and entries (the memory keeps old words, ``finished`` says how many are valid)
    cycle : In(32)
        cycles of the run so far
    started : In(stream.Signature(started_layout()))
        instructions as they are dispatched
    done : In(3)
        number of instructions that finish in this cycle
    finished : Out(32)
        entries since ``clear``
    read : In(MemoryRead(PASS_LOG_ENTRIES, log_entry_layout()))
        for the register file
    """

    latency = 2

    def __init__(self, depth: int = 64):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._depth = depth
        super().__init__({
            "clear": In(1),
            "cycle": In(32),
            "started": In(stream.Signature(started_layout())),
            "done": In(3),
            "finished": Out(32),
            "read": In(MemoryRead(PASS_LOG_ENTRIES, log_entry_layout())),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        fifo = SyncFIFO(width=started_layout().size, depth=self._depth)
        m.submodules.fifo = ResetInserter(self.clear)(fifo)
        m.submodules.memory = memory = Memory(shape=log_entry_layout(), depth=PASS_LOG_ENTRIES, init=[])
        write = memory.write_port()
        read = memory.read_port()

        m.d.comb += [
            fifo.w_data.eq(self.started.payload),
            fifo.w_en.eq(self.started.valid),
            self.started.ready.eq(fifo.w_rdy & ~self.clear),
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.address),
            self.read.data.eq(read.data),
        ]

        unwritten = Signal(range(self._depth + 1))  # instructions that finished
        pop = Signal()
        m.d.comb += pop.eq((unwritten != 0) & fifo.r_rdy)
        m.d.comb += fifo.r_en.eq(pop)
        full = self.finished >= PASS_LOG_ENTRIES
        m.d.comb += [
            write.en.eq(pop & ~full),
            write.addr.eq(self.finished),
            write.data.end.eq(self.cycle),
            write.data.started.eq(fifo.r_data),
        ]
        with m.If(self.clear):
            m.d.sync += unwritten.eq(0)
            m.d.sync += self.finished.eq(0)
        with m.Else():
            m.d.sync += unwritten.eq(unwritten + self.done - pop)
            m.d.sync += self.finished.eq(self.finished + pop)
        return m
