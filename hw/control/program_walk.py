# SPDX-License-Identifier: Apache-2.0
"""Walks the program: fetches it, checks each instruction, asks for its bytes, dispatches it, repeats expert bodies."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig

from ..bus.registers import settings_layout
from ..interfaces import Flow
from ..layouts import DROP, SEQUENCE_BITS, TOKEN_BITS, command_layout, dispatch_layout
from .check import Check
from .error_latch import PC_BITS, error_layout
from .pass_log import started_layout
from .program import Program
from .walk_states import WalkStates

__all__ = ["UNITS", "ProgramWalk"]

#: The units that finish instructions: loader, row reader, row writer, router, write master.
UNITS = 5


class ProgramWalk(wiring.Component):
    """Executes one run, from ``start`` to ``ended`` or ``fault``; the next run needs a reset.

    The walk runs ahead of the units as far as their FIFOs are deep. At EXPERTS it waits for all earlier instructions,
    since the queues must be complete, and at END too. An expert without tokens costs one cycle.

    While the walk waits at EXPERTS it speculates, unless ``stop_after`` is set. It goes through the body for the first
    ``speculate`` experts, asks for their bytes and dispatches nothing. It stops when the earlier instructions are
    finished; if ``command`` is still waiting then, it is withdrawn. The walk then goes through the body again, once per
    expert, and asks for the bytes that are left. For an expert without tokens it dispatches a DROP for each command
    that speculation issued. A DROP has no number and no log entry.

    Refused besides what ``Check`` refuses:

    - PROGRAM_RANGE: a program of no instructions, of more than the memory holds, or without END
    - OPERAND: EXPERTS without a body, with a body that ends behind the program, inside EXPERTS, before any router pass
      of the run, or with more experts to speculate on than there are; END inside EXPERTS

    Speculation refuses nothing: the fault comes when the walk meets the instruction again, after speculation.

    Latency: 22 cycles from one dispatch to the next (`latency`), if nobody waits.
    Throughput: one instruction per `latency` cycles.
    Back-pressure: waits for ``command``, ``started`` and ``dispatch``; ``beats`` waits except while ``fetching``.

    Parameters
    ----------
    config : MachineConfig
        size of the program memory, number of experts, limits that ``Check`` needs

    Members
    -------
    start : In(1)
        one pulse
    settings : In(settings_layout())
        the host's registers
    lengths : In(data.ArrayLayout(12, max_experts))
        tokens in the queue of each expert
    beats : In(stream.Signature(8 x n_lanes))
        the program
    fetching : Out(1)
        the program is being fetched
    command : Out(stream.Signature(command_layout()))
        bus beats to be read; speculation may take a command back before it is taken
    started : Out(stream.Signature(started_layout()))
        the instruction that is dispatched next, for the pass log
    dispatch : Out(stream.Signature(dispatch_layout()))
        instructions except END and EXPERTS, and DROPs
    dropped : In(1)
        the loader has finished a DROP, one pulse
    finishing : In(5)
        one bit per unit: it finishes an instruction
    finished : Out(16)
        instructions finished, modulo 2^16
    pc : Out(13)
        place of the instruction that ``fault``, ``command``, ``started`` and ``dispatch`` belong to
    ended : Out(1)
        all instructions are finished; stays
    fault : Out(Flow(error_layout()))
        why the walk stopped, one pulse
    progress : Out(1)
        an instruction finished, or a transfer took place
    """

    latency = Check.latency + 7

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__({
            "start": In(1),
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
            "pc": Out(PC_BITS),
            "ended": Out(1),
            "fault": Out(Flow(error_layout())),
            "progress": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.program = program = Program(self.config)
        m.submodules.check = check = Check(self.config)
        states = WalkStates(m, self, program, check)
        self._show(m, states)
        self._connect(m, states, program, check)
        self._count(m, states)
        with m.FSM():
            states.build(m)
        return m

    def _show(self, m: Module, states: WalkStates) -> None:
        """What the ports say of the current instruction."""
        instruction, loop = states.instruction, states.loop
        dispatch, started = self.dispatch.payload, self.started.payload
        m.d.comb += [
            dispatch.instruction.eq(instruction),
            dispatch.instruction.opcode.eq(Mux(loop.dropping, DROP, instruction.opcode)),
            dispatch.sequence.eq(states.sequence),
            dispatch.expert.eq(loop.expert),
            started.pc.eq(self.pc),
            started.expert.eq(loop.expert),
            started.rows.eq(instruction.rows),
            self.fault.payload.pc.eq(self.pc),
        ]

    def _connect(self, m: Module, states: WalkStates, program: Program, check: Check) -> None:
        """``Program`` and ``Check``; when they start is up to the states."""
        connect(m, flipped(self.beats), program.beats)
        m.d.comb += [
            self.fetching.eq(program.fill),
            program.read.address.eq(self.pc),
            check.instruction.eq(states.instruction),
            check.repeated.eq(states.loop.repeated),
            check.expert.eq(states.loop.expert),
            check.tokens.eq(states.tokens),
            check.base.eq(states.base),
        ]

    def _count(self, m: Module, states: WalkStates) -> None:
        """Instructions that finish, several in one cycle; DROPs under way."""
        count = Signal(range(UNITS + 1))
        dispatched = self.dispatch.valid & self.dispatch.ready
        m.d.comb += [
            count.eq(sum(self.finishing)),
            states.all_finished.eq(self.finished == states.sequence),
            self.progress.eq(count.any() | (self.command.valid & self.command.ready) | dispatched
                             | self.beats.valid & self.beats.ready),
        ]
        m.d.sync += self.finished.eq(self.finished + count)
        drops = states.pending_drops
        m.d.sync += drops.eq(drops + (dispatched & states.loop.dropping) - self.dropped)
