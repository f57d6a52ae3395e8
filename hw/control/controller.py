# SPDX-License-Identifier: Apache-2.0
"""Everything between the host and the units: registers, run lifecycle, errors, counters, pass log."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import APERTURE, COUNTERS, ErrorCode

from ..bus.axi import LiteChannels
from ..bus.registers import Registers
from ..fault import ADDRESS_BITS, fault_layout
from ..interfaces import Flow, NextBeats
from ..layouts import SEQUENCE_BITS, TOKEN_BITS, Activity, command_layout, dispatch_layout
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
    """Runs programs for the host and reports how they ended.

    Of errors in the same cycle the program walk's wins over those of reading, of writing and of the watchdog, in this
    order. An error of reading names the instruction that asked for the bytes; errors of writing and of the watchdog
    name the oldest unfinished instruction.

    Latency: none; control.
    Throughput: ``weights`` passes ``beats`` on without a register.
    Back-pressure: see ``ProgramWalk``; ``command`` waits while `Origin` has no room.

    Parameters
    ----------
    config : MachineConfig
        for the units inside

    Members
    -------
    host : In(LiteChannels(14, 32))
        the register bus
    interrupt : Out(1)
        to the host; a level
    beats : In(NextBeats(config))
        from the read master
    weights : Out(NextBeats(config))
        what is not the program, for the loader
    command : Out(stream.Signature(command_layout()))
        bus beats to be read
    read_base, read_limit, write_base, write_limit : Out(64)
        windows of the bus masters
    output : Out(40)
        byte address of the output
    read_fault, write_fault : In(Flow(fault_layout()))
        first error of a bus master, one pulse
    beat_read, beat_written : In(1)
        a bus beat was transferred
    drained : In(1)
        nothing is under way on the bus
    dispatch : Out(stream.Signature(dispatch_layout()))
        instructions and DROPs
    finished : Out(16)
        instructions finished, modulo 2^16
    finishing : In(5)
        one bit per unit: it finishes an instruction
    lengths : In(data.ArrayLayout(12, max_experts))
        tokens in the queue of each expert
    dropped : In(1)
        the loader has finished a DROP, one pulse
    abort, clear : Out(1)
        abort the bus masters, reset the units
    activity : In(Activity)
        what the row reader does in this cycle
    row : In(1)
        a row enters the array
    saturated : In(range(k_lanes + 1))
        values that the row writer clips in this cycle
    progress : In(1)
        a unit made progress
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
        m.submodules.lifecycle = lifecycle = RunLifecycle(self._config)
        m.submodules.counters = counters = Counters(self._config)
        m.submodules.pass_log = pass_log = PassLog(_UNDER_WAY)
        self._run(m, registers, lifecycle)
        self._log(m, registers, lifecycle, pass_log, counters)
        self._count(m, registers, lifecycle, counters)
        self._share_beats(m, lifecycle)
        origin = self._trace_origins(m, lifecycle)
        self._errors(m, registers, lifecycle, origin)
        return m

    def _run(self, m: Module, registers: Registers, lifecycle: RunLifecycle) -> None:
        """The host's commands and settings; the units."""
        settings = registers.settings
        connect(m, flipped(self.host), registers.bus)
        connect(m, lifecycle.dispatch, flipped(self.dispatch))
        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            *(getattr(self, name).eq(getattr(settings, name))
              for name in ("read_base", "read_limit", "write_base", "write_limit")),
            self.output.eq(settings.output),
            lifecycle.start.eq(registers.start),
            lifecycle.reset.eq(registers.reset),
            lifecycle.settings.eq(settings),
            lifecycle.lengths.eq(self.lengths),
            lifecycle.dropped.eq(self.dropped),
            lifecycle.finishing.eq(self.finishing),
            lifecycle.drained.eq(self.drained),
            self.finished.eq(lifecycle.finished),
            self.abort.eq(lifecycle.abort),
            self.clear.eq(lifecycle.clear),
            registers.idle.eq(lifecycle.idle),
            registers.done.eq(lifecycle.done),
            registers.error.eq(lifecycle.error),
            registers.reset_done.eq(lifecycle.reset_done),
            registers.status.pc.eq(lifecycle.pc),
        ]

    def _log(self, m: Module, registers: Registers, lifecycle: RunLifecycle, pass_log: PassLog,
             counters: Counters) -> None:
        connect(m, lifecycle.started, pass_log.started)
        connect(m, registers.log, pass_log.read)
        m.d.comb += [
            pass_log.clear.eq(registers.start),
            pass_log.cycle.eq(counters.counters.cycles),
            pass_log.done.eq(sum(self.finishing)),
            registers.status.finished.eq(pass_log.finished),
        ]

    def _count(self, m: Module, registers: Registers, lifecycle: RunLifecycle, counters: Counters) -> None:
        m.d.comb += [
            counters.clear.eq(registers.start),
            counters.running.eq(lifecycle.running),
            counters.activity.eq(self.activity),
            counters.row.eq(self.row),
            counters.beat_read.eq(self.beat_read),
            counters.beat_written.eq(self.beat_written),
            counters.saturated.eq(self.saturated),
            *(getattr(registers.status, name.lower()).eq(getattr(counters.counters, name.lower()))
              for name, _ in COUNTERS),
        ]

    def _share_beats(self, m: Module, lifecycle: RunLifecycle) -> None:
        """The program comes through the same read master as the weights."""
        m.d.comb += [
            lifecycle.beats.payload.eq(self.beats.payload[0]),
            lifecycle.beats.valid.eq(self.beats.available[0] & lifecycle.fetching),
            self.weights.payload.eq(self.beats.payload),
            self.weights.available.eq(Mux(lifecycle.fetching, 0, self.beats.available)),
            self.beats.taken.eq(Mux(lifecycle.fetching, lifecycle.beats.valid & lifecycle.beats.ready,
                                    self.weights.taken)),
        ]

    def _trace_origins(self, m: Module, lifecycle: RunLifecycle) -> Origin:
        """Which instruction asked for the beats that come, and which is the oldest."""
        m.submodules.origin = origin = Origin(_UNDER_WAY)
        command = lifecycle.command
        m.d.sync += origin.beat.eq(self.beat_read)
        m.d.comb += [
            self.command.payload.eq(command.payload),
            self.command.valid.eq(command.valid & origin.room),
            command.ready.eq(self.command.ready & origin.room),
            origin.clear.eq(lifecycle.clear),
            origin.asked.valid.eq(command.valid & command.ready),
            origin.asked.payload.pc.eq(lifecycle.walk_pc),
            origin.asked.payload.last.eq(command.payload.beats - 1),
            origin.dispatched.eq(lifecycle.dispatch.valid & lifecycle.dispatch.ready),
            origin.dispatched_pc.eq(lifecycle.walk_pc),
            origin.sequence.eq(lifecycle.dispatch.payload.sequence),
            origin.finished.eq(lifecycle.finished),
        ]
        return origin

    def _errors(self, m: Module, registers: Registers, lifecycle: RunLifecycle, origin: Origin) -> None:
        """The four sources of errors, the first one first; the watchdog."""
        m.submodules.latch = latch = ErrorLatch(4)
        m.submodules.watchdog = watchdog = Watchdog()
        walk, read, write, standstill = latch.sources
        connect(m, lifecycle.fault, walk)
        with_beat = self.read_fault.payload.code >= ErrorCode.READ_SLAVE  # else it came with a command
        m.d.comb += [
            read.valid.eq(self.read_fault.valid),
            read.payload.code.eq(self.read_fault.payload.code),
            read.payload.address.eq(self.read_fault.payload.address),
            read.payload.pc.eq(Mux(with_beat, origin.beat_pc, origin.command_pc)),
            write.valid.eq(self.write_fault.valid),
            write.payload.code.eq(self.write_fault.payload.code),
            write.payload.address.eq(self.write_fault.payload.address),
            write.payload.pc.eq(origin.oldest_pc),
            standstill.valid.eq(watchdog.expired),
            standstill.payload.code.eq(ErrorCode.WATCHDOG),
            standstill.payload.pc.eq(origin.oldest_pc),
            latch.clear.eq(registers.start | registers.reset),
            lifecycle.failed.eq(latch.failed),
            registers.status.error_code.eq(latch.error.code),
            registers.status.error_pc.eq(latch.error.pc),
            registers.status.error_address.eq(latch.error.address),
            watchdog.running.eq(lifecycle.running & ~latch.failed),
            watchdog.progress.eq(lifecycle.progress | self.progress | self.beat_read | self.beat_written | self.row),
            watchdog.limit.eq(registers.settings.watchdog),
        ]
