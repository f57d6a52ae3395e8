# SPDX-License-Identifier: Apache-2.0
"""A small machine with the ports of the real one: registers, and a DMA that copies memory to memory.

Registers lie where ``moevit.spec.registers`` has them: CONTROL (START 0, DONE 1, IDLE 2), INTERRUPT_STATUS (bit 0,
write one to clear), WEIGHTS (source), OUTPUT (destination), PROGRAM_LENGTH (beats, a multiple of 16). FAULT makes it
break the rules of the bus; a read of SILENT is never answered.
"""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from moevit.hw.bus.axi import LiteChannels, ReadChannels, WriteChannels
from moevit.hw.bus.spread_read import SpreadRead
from moevit.hw.bus.spread_write import SpreadWrite
from moevit.hw.interfaces import Flow
from moevit.spec.registers import offset

BURST = 16
FAULT, SILENT = 0x7F0, 0x7F8
FAULTS = ("none", "crosses", "long", "drops", "changes", "last", "unaligned")


def trace_record(bus_bytes: int) -> data.StructLayout:
    return data.StructLayout({"kind": 8, "sequence": 16, "address": 32, "data": 8 * bus_bytes})


class CopyMachine(Component):
    """Copies; a trace record for every beat written. Reads run ahead as far as the FIFO has room."""

    def __init__(self, bus_bytes: int = 16, trace: bool = True):
        self.bus_bytes, self.traced = bus_bytes, trace
        super().__init__({
            "control": In(LiteChannels(13, 32)),
            "read": Out(ReadChannels(bus_bytes)),
            "write": Out(WriteChannels(bus_bytes)),
            "interrupt": Out(1),
            **({"trace": Out(Flow(trace_record(bus_bytes)))} if trace else {}),
        })

    def elaborate(self, platform):
        m = Module()
        size = self.bus_bytes
        source, destination, beats = Signal(40), Signal(40), Signal(32)
        running, done, failed, pending = Signal(), Signal(), Signal(), Signal()
        start = Signal()
        fault = Signal(range(len(FAULTS)))

        def faulty(name):
            return fault == FAULTS.index(name)

        # Registers.
        lite = self.control
        address, value, strobes = Signal(13), Signal(32), Signal(4)
        have_address, have_value = Signal(), Signal()
        m.d.comb += [lite.aw.ready.eq(~have_address), lite.w.ready.eq(~have_value), self.interrupt.eq(pending)]
        with m.If(lite.aw.valid & lite.aw.ready):
            m.d.sync += [address.eq(lite.aw.payload.addr), have_address.eq(1)]
        with m.If(lite.w.valid & lite.w.ready):
            m.d.sync += [value.eq(lite.w.payload.data), strobes.eq(lite.w.payload.strb), have_value.eq(1)]
        with m.If(lite.b.valid & lite.b.ready):
            m.d.sync += lite.b.valid.eq(0)
        with m.If(have_address & have_value & ~lite.b.valid):
            m.d.sync += [have_address.eq(0), have_value.eq(0), lite.b.valid.eq(1)]
            with m.Switch(address):
                with m.Case(offset("CONTROL")):
                    m.d.comb += start.eq(value[0] & ~running)
                    with m.If(value[5]):
                        m.d.sync += [running.eq(0), done.eq(0)]
                with m.Case(offset("INTERRUPT_STATUS")):
                    with m.If(value[0]):
                        m.d.sync += pending.eq(0)
                for name, register in (("WEIGHTS", source), ("OUTPUT", destination)):
                    with m.Case(offset(f"{name}_LOW")):
                        m.d.sync += register[:32].eq(value)
                    with m.Case(offset(f"{name}_HIGH")):
                        m.d.sync += register[32:].eq(value)
                with m.Case(offset("PROGRAM_LENGTH")):
                    m.d.sync += beats.eq(value)
                with m.Case(FAULT):
                    m.d.sync += fault.eq(value)
        m.d.comb += lite.ar.ready.eq(~lite.r.valid)
        with m.If(lite.r.valid & lite.r.ready):
            m.d.sync += lite.r.valid.eq(0)
        with m.If(lite.ar.valid & lite.ar.ready):
            m.d.sync += lite.r.valid.eq(lite.ar.payload.addr != SILENT)
            with m.Switch(lite.ar.payload.addr):
                with m.Case(offset("CONTROL")):
                    m.d.sync += lite.r.payload.data.eq(Cat(C(0, 1), done, ~running, ~running, C(0, 3), failed))
                with m.Case(offset("PROGRAM_LENGTH")):
                    m.d.sync += lite.r.payload.data.eq(beats)
                with m.Default():
                    m.d.sync += lite.r.payload.data.eq(0)

        # Reads.
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8 * size, depth=256)
        ar, r, aw, w, b = self.read.ar, self.read.r, self.write.aw, self.write.w, self.write.b
        room, asked, written, to_answer = Signal(range(257), init=256), Signal(32), Signal(32), Signal(16)
        ask, taken = Signal(), Signal()
        burst = Mux(faulty("long"), 2 * BURST, BURST)
        m.d.comb += ask.eq(running & (asked != 0) & (room >= burst) & (~ar.valid | ar.ready))
        with m.If(ar.ready):
            m.d.sync += ar.valid.eq(0)
        with m.If(faulty("drops")):
            m.d.sync += ar.valid.eq(0)
        with m.If(faulty("changes") & ar.valid & ~ar.ready):
            m.d.sync += ar.payload.addr.eq(ar.payload.addr + size)
        with m.If(ask):
            m.d.sync += [ar.valid.eq(1), ar.payload.addr.eq(source), ar.payload.len.eq(burst - 1),
                         source.eq(source + burst * size), asked.eq(asked - burst)]
        m.d.comb += [r.ready.eq(1), fifo.w_en.eq(r.valid), fifo.w_data.eq(r.payload.data)]
        m.d.comb += taken.eq(fifo.r_rdy & fifo.r_en)
        m.d.sync += room.eq(room - Mux(ask, burst, 0) + taken)
        with m.If(r.valid & r.payload.resp.any() | b.valid & b.payload.resp.any()):
            m.d.sync += failed.eq(1)

        # Writes: one burst at a time, its data after its address.
        index, inside, closing = Signal(range(BURST)), Signal(), Signal()
        m.d.comb += closing.eq(index == BURST - 1 - faulty("last"))
        with m.If(running & ~inside & ~aw.valid & (written != 0) & fifo.r_rdy):
            m.d.sync += [aw.valid.eq(1), aw.payload.addr.eq(destination), aw.payload.len.eq(BURST - 1), inside.eq(1)]
        with m.If(aw.valid & aw.ready):
            m.d.sync += aw.valid.eq(0)
        m.d.comb += [w.valid.eq(inside & fifo.r_rdy), w.payload.data.eq(fifo.r_data), w.payload.strb.eq(~0),
                     w.payload.last.eq(closing), fifo.r_en.eq(inside & w.ready)]
        with m.If(w.valid & w.ready):
            m.d.sync += [index.eq(index + 1), written.eq(written - 1), destination.eq(destination + size)]
            with m.If(index == BURST - 1):
                m.d.sync += inside.eq(0)
        m.d.comb += b.ready.eq(1)
        finished = w.valid & w.ready & (index == BURST - 1)
        m.d.sync += to_answer.eq(to_answer + finished - b.valid)
        if self.traced:
            m.d.sync += [self.trace.valid.eq(w.valid & w.ready), self.trace.payload.kind.eq(7),
                         self.trace.payload.sequence.eq(self.trace.payload.sequence + (w.valid & w.ready)),
                         self.trace.payload.address.eq(destination), self.trace.payload.data.eq(w.payload.data)]

        with m.If(start):
            shift = Mux(faulty("crosses"), size, faulty("unaligned"))
            m.d.sync += [running.eq(1), done.eq(0), failed.eq(0), asked.eq(beats), written.eq(beats),
                         source.eq(source + shift)]
        with m.Elif(running & (written == 0) & (to_answer == 0) & ~b.valid):
            m.d.sync += [running.eq(0), done.eq(1), pending.eq(1)]
        return m


class SpreadCopyMachine(Component):
    """The copy machine with two ports of half the width."""

    def __init__(self, bus_bytes: int = 16):
        self.copy, self.bus_bytes = CopyMachine(bus_bytes, trace=False), bus_bytes
        super().__init__({
            "control": In(LiteChannels(13, 32)),
            "read": Out(ReadChannels(bus_bytes // 2)).array(2),
            "write": Out(WriteChannels(bus_bytes // 2)).array(2),
            "interrupt": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.copy = copy = self.copy
        m.submodules.reads = reads = SpreadRead(self.bus_bytes, 2)
        m.submodules.writes = writes = SpreadWrite(self.bus_bytes, 2)
        connect(m, flipped(self.control), copy.control)
        m.d.comb += self.interrupt.eq(copy.interrupt)
        for wide, bridge, ports in ((copy.read, reads, self.read), (copy.write, writes, self.write)):
            connect(m, wide, bridge.wide)
            for narrow, port in zip(bridge.narrow, ports, strict=True):
                connect(m, narrow, flipped(port))
        return m
