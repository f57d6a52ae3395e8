# SPDX-License-Identifier: Apache-2.0
"""The smallest machine that the wrapper takes: registers, both bus masters, error latch, watchdog, counters.

A run copies PROGRAM_LENGTH row-memory words from PROGRAM to OUTPUT.
"""

from amaranth import *
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.hw.bus.axi import LiteChannels, ReadChannels, WriteChannels
from moevit.hw.bus.read_master import ReadMaster
from moevit.hw.bus.registers import Registers
from moevit.hw.bus.write_master import WriteMaster
from moevit.hw.control.counters import Counters
from moevit.hw.control.error_latch import ErrorLatch
from moevit.hw.control.watchdog import Watchdog
from moevit.hw.layouts import Activity
from moevit.spec.registers import APERTURE, ErrorCode


class Copier(Component):
    def __init__(self, config):
        self.config = config
        super().__init__({
            "control": In(LiteChannels(exact_log2(APERTURE))),
            "read": Out(ReadChannels(config.bus_bytes)),
            "write": Out(WriteChannels(config.bus_bytes)),
            "interrupt": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = Registers(self.config)
        m.submodules.reader = reader = ReadMaster(self.config)
        m.submodules.writer = writer = WriteMaster(self.config)
        m.submodules.latch = latch = ErrorLatch(3)
        m.submodules.watchdog = watchdog = Watchdog()
        m.submodules.counters = counters = Counters(self.config)
        connect(m, flipped(self.control), registers.bus)
        connect(m, flipped(self.read), reader.bus)
        connect(m, flipped(self.write), writer.bus)
        settings, status = registers.settings, registers.status

        running, aborting, resetting = Signal(), Signal(), Signal()
        read_asked, write_asked = Signal(), Signal()
        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            registers.idle.eq(~running & ~aborting & ~registers.reset),
            reader.base.eq(settings.read_base),
            reader.limit.eq(settings.read_limit),
            writer.base.eq(settings.write_base),
            writer.limit.eq(settings.write_limit),
            reader.command.valid.eq(read_asked),
            reader.command.payload.address.eq(settings.program),
            reader.command.payload.beats.eq(settings.program_length * self.config.word_bus_beats),
            writer.command.valid.eq(write_asked),
            writer.command.payload.address.eq(settings.output),
            writer.command.payload.words.eq(settings.program_length),
            reader.abort.eq(aborting),
            writer.abort.eq(aborting),
        ]
        with m.If(reader.command.ready | aborting):
            m.d.sync += read_asked.eq(0)
        with m.If(writer.command.ready | aborting):
            m.d.sync += write_asked.eq(0)

        # Beats, one at a time, to words.
        size = 8 * self.config.beat_bytes
        beat, there, take = reader.beats.payload[0], reader.beats.available[0], Signal()
        m.d.comb += reader.beats.taken.eq(there & take)
        word = Value.cast(writer.words.payload)
        if self.config.word_beats == 1:
            m.d.comb += [word.eq(beat), writer.words.valid.eq(there), take.eq(writer.words.ready)]
        else:
            low, has_low = Signal(size), Signal()
            m.d.comb += [
                word.eq(Cat(low, beat)),
                writer.words.valid.eq(has_low & there),
                take.eq(~has_low | writer.words.ready),
            ]
            with m.If(aborting):
                m.d.sync += has_low.eq(0)
            with m.Elif(there & take):
                m.d.sync += [has_low.eq(~has_low), low.eq(beat)]

        # Run, error, reset.
        for source, unit in zip(latch.sources, (reader, writer), strict=False):
            m.d.comb += [source.valid.eq(unit.fault.valid), source.payload.code.eq(unit.fault.payload.code),
                         source.payload.address.eq(unit.fault.payload.address)]
        m.d.comb += [
            watchdog.running.eq(running & ~aborting),
            watchdog.progress.eq(reader.beat | writer.beat),
            watchdog.limit.eq(settings.watchdog),
            latch.source_2.valid.eq(watchdog.expired),
            latch.source_2.payload.code.eq(ErrorCode.WATCHDOG),
            latch.clear.eq(registers.start | registers.reset),
            registers.error.eq(latch.raised),
            status.error_code.eq(latch.error.code),
            status.error_pc.eq(latch.error.pc),
            status.error_address.eq(latch.error.address),
            counters.clear.eq(registers.start),
            counters.running.eq(running),
            counters.activity.eq(Activity.WAIT_PROGRAM),
            counters.beat_read.eq(reader.beat),
            counters.beat_written.eq(writer.beat),
        ]
        for name, _ in counters.counters.shape():
            m.d.comb += getattr(status, name).eq(getattr(counters.counters, name))
        with m.If(registers.start):
            m.d.sync += [running.eq(1), read_asked.eq(1), write_asked.eq(1)]
        with m.If(running & writer.done):
            m.d.sync += running.eq(0)
            m.d.comb += registers.done.eq(1)
        with m.If(latch.raised | registers.reset):
            m.d.sync += [aborting.eq(1), running.eq(0)]
        with m.If(registers.reset):
            m.d.sync += resetting.eq(1)
        with m.If(aborting & reader.drained & writer.drained & ~registers.reset):
            m.d.sync += [aborting.eq(0), resetting.eq(0)]
            m.d.comb += registers.reset_done.eq(resetting)
        return m
