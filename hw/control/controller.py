# SPDX-License-Identifier: Apache-2.0
"""Everything between the host and the units: registers, sequencer, errors, counters, pass log."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import APERTURE, COUNTERS, ErrorCode

from ..bus.axi import LiteChannels
from ..bus.fault import ADDRESS_BITS, fault_layout
from ..bus.registers import Registers
from ..interfaces import SEQUENCE_BITS, TOKEN_BITS, Activity, Flow, NextBeats, command_layout, dispatch_layout
from .counters import Counters
from .error_latch import ErrorLatch
from .origin import Origin
from .pass_log import PassLog
from .program_walk import UNITS
from .run_lifecycle import RunLifecycle
from .watchdog import Watchdog

__all__ = ["Controller"]

_UNDER_WAY = 64  # instructions that may be dispatched and not finished


class Controller(wiring.Component):
    """Runs programs for the host and says how they went.

    Errors that come in the same cycle: the sequencer's own before those of reading, writing and the watchdog. An
    error of the read bus names the instruction whose bytes were asked for, one of the write bus and of the watchdog
    the oldest unfinished one.

    Members
    -------
    host, interrupt : the register bus, the interrupt
    beats, weights : from the read master; what is no program goes on to the loader
    command : stream of stretches to be read
    read_base, read_limit, write_base, write_limit, output : the host's addresses
    read_fault, write_fault, beat_read, beat_written, drained : from the bus masters
    dispatch, finished, finishing, lengths, dropped : to and from the units, see ``Walk``
    abort, clear : see ``RunLifecycle``
    activity, row, saturated : for the counters
    progress : something moved in a unit
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "host": In(LiteChannels(exact_log2(APERTURE), 32)),
            "interrupt": Out(1),
            "beats": In(NextBeats(config)),
            "weights": Out(NextBeats(config)),
            "command": Out(stream.Signature(command_layout())),
            **{name: Out(64) for name in ("read_base", "read_limit", "write_base", "write_limit")},
            "output": Out(ADDRESS_BITS),
            "read_fault": In(Flow(fault_layout())),
            "write_fault": In(Flow(fault_layout())),
            "beat_read": In(1),
            "beat_written": In(1),
            "drained": In(1),
            "dispatch": Out(stream.Signature(dispatch_layout())),
            "finished": Out(SEQUENCE_BITS),
            "finishing": In(UNITS),
            "lengths": In(data.ArrayLayout(TOKEN_BITS, config.max_experts)),
            "dropped": In(1),
            "abort": Out(1),
            "clear": Out(1),
            "activity": In(Activity),
            "row": In(1),
            "saturated": In(range(config.k_lanes + 1)),
            "progress": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.registers = registers = Registers(self._config)
        m.submodules.sequencer = sequencer = RunLifecycle(self._config)
        m.submodules.counters = counters = Counters(self._config)
        m.submodules.pass_log = pass_log = PassLog(_UNDER_WAY)
        connect(m, flipped(self.host), registers.bus)
        connect(m, sequencer.dispatch, flipped(self.dispatch))
        connect(m, sequencer.started, pass_log.started)
        connect(m, registers.log, pass_log.read)
        settings = registers.settings
        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            *(getattr(self, name).eq(getattr(settings, name))
              for name in ("read_base", "read_limit", "write_base", "write_limit")),
            self.output.eq(settings.output),
            sequencer.start.eq(registers.start),
            sequencer.reset.eq(registers.reset),
            sequencer.settings.eq(settings),
            sequencer.lengths.eq(self.lengths),
            sequencer.dropped.eq(self.dropped),
            sequencer.finishing.eq(self.finishing),
            sequencer.drained.eq(self.drained),
            self.finished.eq(sequencer.finished),
            self.abort.eq(sequencer.abort),
            self.clear.eq(sequencer.clear),
            registers.idle.eq(sequencer.idle),
            registers.done.eq(sequencer.done),
            registers.error.eq(sequencer.error),
            registers.reset_done.eq(sequencer.reset_done),
            pass_log.clear.eq(registers.start),
            pass_log.cycle.eq(counters.counters.cycles),
            pass_log.done.eq(sum(self.finishing)),
            counters.clear.eq(registers.start),
            counters.running.eq(sequencer.running),
            counters.activity.eq(self.activity),
            counters.row.eq(self.row),
            counters.beat_read.eq(self.beat_read),
            counters.beat_written.eq(self.beat_written),
            counters.saturated.eq(self.saturated),
            registers.status.pc.eq(sequencer.pc),
            registers.status.finished.eq(pass_log.finished),
            *(getattr(registers.status, name.lower()).eq(getattr(counters.counters, name.lower()))
              for name, _ in COUNTERS),
        ]
        # The program comes through the same read master as the weights.
        m.d.comb += [
            sequencer.beats.payload.eq(self.beats.payload[0]),
            sequencer.beats.valid.eq(self.beats.available[0] & sequencer.fetching),
            self.weights.payload.eq(self.beats.payload),
            self.weights.available.eq(Mux(sequencer.fetching, 0, self.beats.available)),
            self.beats.taken.eq(Mux(sequencer.fetching, sequencer.beats.valid & sequencer.beats.ready,
                                    self.weights.taken)),
        ]
        self._errors(m, registers, sequencer)
        return m

    def _errors(self, m: Module, registers: Registers, sequencer: RunLifecycle) -> None:
        m.submodules.origin = origin = Origin(_UNDER_WAY)
        m.submodules.latch = latch = ErrorLatch(4)
        m.submodules.watchdog = watchdog = Watchdog()
        command = sequencer.command
        m.d.sync += origin.beat.eq(self.beat_read)
        m.d.comb += [
            self.command.payload.eq(command.payload),
            self.command.valid.eq(command.valid & origin.room),
            command.ready.eq(self.command.ready & origin.room),
            origin.clear.eq(sequencer.clear),
            origin.asked.valid.eq(command.valid & command.ready),
            origin.asked.payload.pc.eq(sequencer.walk_pc),
            origin.asked.payload.last.eq(command.payload.beats - 1),
            origin.dispatched.eq(sequencer.dispatch.valid & sequencer.dispatch.ready),
            origin.dispatched_pc.eq(sequencer.walk_pc),
            origin.sequence.eq(sequencer.dispatch.payload.sequence),
            origin.finished.eq(sequencer.finished),
        ]

        own, read, write, standstill = latch.sources
        connect(m, sequencer.fault, own)
        came = (self.read_fault.payload.code >= ErrorCode.READ_SLAVE)  # with a beat, not with a command
        m.d.comb += [
            read.valid.eq(self.read_fault.valid),
            read.payload.code.eq(self.read_fault.payload.code),
            read.payload.address.eq(self.read_fault.payload.address),
            read.payload.pc.eq(Mux(came, origin.beat_pc, origin.command_pc)),
            write.valid.eq(self.write_fault.valid),
            write.payload.code.eq(self.write_fault.payload.code),
            write.payload.address.eq(self.write_fault.payload.address),
            write.payload.pc.eq(origin.oldest_pc),
            standstill.valid.eq(watchdog.expired),
            standstill.payload.code.eq(ErrorCode.WATCHDOG),
            standstill.payload.pc.eq(origin.oldest_pc),
            latch.clear.eq(registers.start | registers.reset),
            sequencer.failed.eq(latch.failed),
            registers.status.error_code.eq(latch.error.code),
            registers.status.error_pc.eq(latch.error.pc),
            registers.status.error_address.eq(latch.error.address),
            watchdog.running.eq(sequencer.running & ~latch.failed),
            watchdog.progress.eq(sequencer.moved | self.progress | self.beat_read | self.beat_written | self.row),
            watchdog.limit.eq(registers.settings.watchdog),
        ]
