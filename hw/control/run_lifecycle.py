# SPDX-License-Identifier: Apache-2.0
"""Starts and ends runs, and brings the machine back to idle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig

from ..bus.registers import settings_layout
from ..interfaces import Flow
from ..layouts import DROP, SEQUENCE_BITS, TOKEN_BITS, command_layout, dispatch_layout
from .error_latch import PC_BITS, error_layout
from .pass_log import started_layout
from .program_walk import UNITS, ProgramWalk

__all__ = ["DRAIN_LIMIT", "RunLifecycle"]

#: Cycles that an error waits for the memory bus to drain before it is reported.
DRAIN_LIMIT = 4096


class RunLifecycle(wiring.Component):
    """``start`` runs the program (``ProgramWalk``); the run ends with ``done``, or with ``error`` after ``failed``.

    On a failure and on ``reset`` dispatch stops, the units are cleared and the bus masters are aborted. The machine is
    idle when the masters are ``drained``. A memory that never answers keeps it from becoming idle, since a bus
    transaction cannot be taken back; the error is then reported after 4096 cycles.

    Latency: none; control.
    Throughput: one run at a time.
    Back-pressure: see ``ProgramWalk``; ``start`` is ignored unless ``idle``.

    Parameters
    ----------
    config : MachineConfig
        for ``ProgramWalk``

    Members
    -------
    start, reset : In(1)
        commands of the host, one pulse
    settings : In(settings_layout())
        the host's registers; steady during a run
    lengths : In(data.ArrayLayout(12, max_experts))
        tokens in the queue of each expert
    beats : In(stream.Signature(8 x n_lanes))
        the program
    fetching : Out(1)
        the program is being fetched
    command : Out(stream.Signature(command_layout()))
        bus beats to be read
    started : Out(stream.Signature(started_layout()))
        the instruction that is dispatched next
    dispatch : Out(stream.Signature(dispatch_layout()))
        instructions and DROPs
    dropped : In(1)
        the loader has finished a DROP, one pulse
    finishing : In(5)
        one bit per unit: it finishes an instruction
    finished : Out(16)
        instructions finished, modulo 2^16
    fault : Out(Flow(error_layout()))
        why the walk stopped, one pulse
    progress : Out(1)
        the walk made progress
    failed : In(1)
        an error is latched; ``start`` and ``reset`` clear it
    abort, clear : Out(1)
        abort the bus masters, reset the units; high until the masters are drained
    drained : In(1)
        nothing is under way on the bus
    idle, running : Out(1)
        neither run nor reset is under way; a run is under way
    done, error, reset_done : Out(1)
        how it ended, one pulse
    pc : Out(13)
        place of the instruction that was dispatched last
    walk_pc : Out(13)
        place of the instruction that ``fault``, ``command``, ``started`` and ``dispatch`` belong to
    """

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "reset": In(1),
            "settings": In(settings_layout()),
            "lengths": In(data.ArrayLayout(TOKEN_BITS, config.max_experts)),
            "beats": In(stream.Signature(8 * config.beat_bytes)),
            "fetching": Out(1),
            "command": Out(stream.Signature(command_layout())),
            "started": Out(stream.Signature(started_layout())),
            "dispatch": Out(stream.Signature(dispatch_layout())),
            "dropped": In(1),
            "finishing": In(UNITS),
            "finished": Out(SEQUENCE_BITS),
            "fault": Out(Flow(error_layout())),
            "progress": Out(1),
            "failed": In(1),
            "abort": Out(1),
            "drained": In(1),
            "clear": Out(1),
            "idle": Out(1),
            "running": Out(1),
            "done": Out(1),
            "error": Out(1),
            "reset_done": Out(1),
            "pc": Out(PC_BITS),
            "walk_pc": Out(PC_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        walk = ProgramWalk(self._config)
        m.submodules.program_walk = ResetInserter(~self.running)(walk)
        for name in ("beats", "command", "started", "dispatch", "fault"):
            connect(m, getattr(walk, name), flipped(getattr(self, name)))
        m.d.comb += [
            walk.settings.eq(self.settings),
            walk.lengths.eq(self.lengths),
            walk.finishing.eq(self.finishing),
            walk.dropped.eq(self.dropped),
            self.fetching.eq(walk.fetching),
            self.finished.eq(walk.finished),
            self.progress.eq(walk.progress),
            self.walk_pc.eq(walk.pc),
            self.clear.eq(self.abort),
        ]
        with m.If(self.dispatch.valid & self.dispatch.ready & (self.dispatch.payload.instruction.opcode != DROP)):
            m.d.sync += self.pc.eq(walk.pc)
        self._states(m, walk)
        return m

    def _states(self, m: Module, walk: ProgramWalk) -> None:
        """IDLE, RUN; ABORT, DRAIN after a failure or a reset."""
        drain_left = Signal(range(DRAIN_LIMIT + 1))
        error_due, reset_due, begun = Signal(), Signal(), Signal()

        def obey_reset():
            with m.If(self.reset):
                m.d.sync += [reset_due.eq(1), error_due.eq(0)]
                m.next = "ABORT"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    m.d.sync += [begun.eq(0), self.pc.eq(0)]
                    m.next = "RUN"
                obey_reset()
            with m.State("RUN"):
                m.d.comb += self.running.eq(1)
                m.d.sync += begun.eq(1)
                m.d.comb += walk.start.eq(~begun)
                with m.If(self.failed):
                    m.d.sync += [error_due.eq(1), drain_left.eq(DRAIN_LIMIT)]
                    m.next = "ABORT"
                with m.Elif(walk.ended):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
                obey_reset()
            with m.State("ABORT"):
                # The masters see `abort` in this cycle; `drained` takes it into account from the next one on.
                m.d.comb += self.abort.eq(1)
                m.next = "DRAIN"
                obey_reset()
            with m.State("DRAIN"):
                m.d.comb += self.abort.eq(1)
                m.d.sync += drain_left.eq(drain_left - (drain_left != 0))
                with m.If(self.drained | (drain_left == 0)):
                    m.d.comb += self.error.eq(error_due)
                    m.d.sync += error_due.eq(0)
                with m.If(self.drained):
                    m.d.comb += self.reset_done.eq(reset_due)
                    m.d.sync += reset_due.eq(0)
                    m.next = "IDLE"
                obey_reset()
