# SPDX-License-Identifier: Apache-2.0
"""Starts runs, ends them well or badly, and brings the machine back to idle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig

from ..bus.registers import settings_layout
from ..interfaces import DROP, SEQUENCE_BITS, TOKEN_BITS, Flow, command_layout, dispatch_layout
from .error_latch import PC_BITS, error_layout
from .pass_log import started_layout
from .program_walk import UNITS, ProgramWalk

__all__ = ["PATIENCE", "RunLifecycle"]

#: Cycles after which an error is reported though the memory bus still owes something.
PATIENCE = 4096


class RunLifecycle(wiring.Component):
    """``start`` -> run the program (``ProgramWalk``) -> ``done``, or ``error`` once ``failed``.

    On a failure and on ``reset``: dispatch stops, the units are cleared, the bus masters are aborted, and the machine
    is idle again when they are ``drained``. A memory that never answers keeps it from becoming idle, since a bus
    transaction cannot be taken back; the error is then reported after ``PATIENCE`` cycles all the same.

    Parameters
    ----------
    config : the machine's configuration

    Members
    -------
    start, reset : commands of the host, one pulse; ``start`` only while ``idle``
    settings, lengths, beats, fetching, command, started, dispatch, dropped, finished, fault, moved : see ``ProgramWalk``
    finishing : one bit per unit, an instruction is finished
    failed : an error is latched; ``start`` and ``reset`` clear it
    abort : to the bus masters, until they are drained
    drained : nothing is under way on the bus
    clear : resets the units, as long as ``abort``
    idle : no run and no reset is under way
    running : the run is under way
    done, error, reset_done : how it ended, one pulse
    pc : instruction last started
    walk_pc : instruction concerned by ``fault``, and that ``command`` is for
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
            "moved": Out(1),
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
        m.submodules.walk = ResetInserter(~self.running)(walk)
        for name in ("beats", "command", "started", "dispatch", "fault"):
            connect(m, getattr(walk, name), flipped(getattr(self, name)))
        m.d.comb += [
            walk.settings.eq(self.settings),
            walk.lengths.eq(self.lengths),
            walk.done.eq(self.finishing),
            walk.dropped.eq(self.dropped),
            self.fetching.eq(walk.fetching),
            self.finished.eq(walk.finished),
            self.moved.eq(walk.moved),
            self.walk_pc.eq(walk.pc),
            self.clear.eq(self.abort),
        ]
        with m.If(self.dispatch.valid & self.dispatch.ready & (self.dispatch.payload.instruction.opcode != DROP)):
            m.d.sync += self.pc.eq(walk.pc)

        patience = Signal(range(PATIENCE + 1))
        owed_error, owed_reset, begun = Signal(), Signal(), Signal()

        def obey_reset():
            with m.If(self.reset):
                m.d.sync += [owed_reset.eq(1), owed_error.eq(0)]
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
                    m.d.sync += [owed_error.eq(1), patience.eq(PATIENCE)]
                    m.next = "ABORT"
                with m.Elif(walk.ended):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
                obey_reset()
            with m.State("ABORT"):
                # A cycle, so that the masters have seen `abort` when `drained` is looked at.
                m.d.comb += self.abort.eq(1)
                m.next = "DRAIN"
                obey_reset()
            with m.State("DRAIN"):
                m.d.comb += self.abort.eq(1)
                m.d.sync += patience.eq(patience - (patience != 0))
                with m.If(self.drained | (patience == 0)):
                    m.d.comb += self.error.eq(owed_error)
                    m.d.sync += owed_error.eq(0)
                with m.If(self.drained):
                    m.d.comb += self.reset_done.eq(owed_reset)
                    m.d.sync += owed_reset.eq(0)
                    m.next = "IDLE"
                obey_reset()
        return m
