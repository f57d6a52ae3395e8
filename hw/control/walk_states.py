# SPDX-License-Identifier: Apache-2.0
"""The states of the program walk: fetch the program; read, check and dispatch its instructions."""

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.utils import exact_log2

from moevit.spec.isa import INSTRUCTION_BYTES, Destination, Opcode, Region
from moevit.spec.registers import ErrorCode

from ..fault import ADDRESS_BITS
from ..layouts import SEQUENCE_BITS, TOKEN_BITS, instruction_layout
from .check import Check
from .expert_loop import ExpertLoop
from .program import Program

__all__ = ["WalkStates"]


class WalkStates:
    """Registers and states of a ``ProgramWalk``.

    Parameters
    ----------
    m : Module
        of the walk
    walk : ProgramWalk
        its ports
    program, check : Program, Check
        its submodules

    Attributes
    ----------
    pc, settings : of the walk's ports
    instruction : Signal
        the instruction at ``pc``
    sequence : Signal
        number of the next dispatch
    length : Signal
        instructions of the program
    tokens : Signal
        rows that the router saw
    base : Signal
        byte address that ``region_offset`` counts from
    all_finished : Signal
        all dispatched instructions are finished
    pending_drops : Signal
        DROPs that the loader has not finished
    loop : ExpertLoop
        the loop over experts
    """

    def __init__(self, m: Module, walk, program: Program, check: Check):
        config = walk.config
        self._walk, self._program, self._check, self._config = walk, program, check, config
        self.pc, self.settings = walk.pc, walk.settings
        self.instruction, self.sequence = Signal(instruction_layout()), Signal(SEQUENCE_BITS)
        self.length = Signal(range(config.program_length + 1))
        self.tokens = Signal(TOKEN_BITS)
        self.base = Signal(64)
        self.all_finished = Signal()
        self.loop = ExpertLoop(m, config, walk.lengths)
        self.pending_drops = Signal.like(self.loop.issued)
        self._checking = Signal(range(Check.latency + 1))  # cycles left
        self._has_bytes = Signal()
        self._dispatches, self._is_last = Signal(32), Signal()
        stop_after = self.settings.stop_after
        m.d.comb += self._has_bytes.eq(self.instruction.region_beats != 0)
        m.d.sync += self._is_last.eq((stop_after != 0) & (self._dispatches + 1 == stop_after))
        m.d.sync += walk.fault.valid.eq(0)

    def build(self, m: Module) -> None:
        """Adds all states to the machine of ``m``."""
        self._fetch_program(m)
        self._read_instruction(m)
        self._check_instruction(m)
        self._ask_for_bytes(m)
        self._dispatch(m)
        self.loop.states(m, self)
        self._end(m)

    def refuse(self, m: Module, code: ErrorCode | Value, address: ValueLike = 0) -> None:
        """Stops the walk with a fault."""
        fault = self._walk.fault
        m.d.sync += [fault.valid.eq(1), fault.payload.code.eq(code), fault.payload.address.eq(address)]
        m.next = "STOPPED"

    def _refuse_unless_speculating(self, m: Module, code: ErrorCode | Value, address: ValueLike = 0) -> None:
        with m.If(self.loop.speculating):
            m.next = "WAIT"
        with m.Else():
            self.refuse(m, code, address)

    def _next_instruction(self, m: Module) -> None:
        m.d.sync += self.pc.eq(self.pc + 1)
        m.next = "READ"

    def _fetch_program(self, m: Module) -> None:
        """IDLE, LENGTH, FETCH, FILL: the program comes from the host's memory into ``Program``."""
        settings, command, program = self.settings, self._walk.command, self._program
        address, beats = command.payload.address, command.payload.beats
        with m.State("IDLE"):
            with m.If(self._walk.start):
                m.d.sync += [self.length.eq(settings.program_length), address.eq(settings.program)]
                m.next = "LENGTH"
        with m.State("LENGTH"):
            m.d.sync += beats.eq(self.length << exact_log2(INSTRUCTION_BYTES // self._config.bus_bytes))
            m.next = "FETCH"
            with m.If((settings.program_length == 0) | (settings.program_length > self._config.program_length)):
                self.refuse(m, ErrorCode.PROGRAM_RANGE)
            with m.Elif(settings.program[ADDRESS_BITS:].any()):
                self.refuse(m, ErrorCode.READ_WINDOW, address)
        with m.State("FETCH"):
            m.d.comb += command.valid.eq(1)
            with m.If(command.ready):
                m.next = "FILL"
        with m.State("FILL"):
            m.d.comb += program.fill.eq(1)
            with m.If(program.filled == self.length):
                m.next = "READ"

    def _read_instruction(self, m: Module) -> None:
        """READ, TAKE, START: the instruction comes out of ``Program``; its rows and its base address are resolved."""
        instruction, settings, loop = self.instruction, self.settings, self.loop
        with m.State("READ"):
            m.d.comb += self._program.read.enable.eq(1)
            m.next = "TAKE"
            with m.If(loop.leaves_body(self.pc)):
                loop.next_expert(m, self.pc)
            with m.Elif(loop.speculating & self.all_finished):
                m.next = "WAIT"
            with m.Elif(self.pc >= self.length):
                self.refuse(m, ErrorCode.PROGRAM_RANGE)
        with m.State("TAKE"):
            m.d.sync += [instruction.eq(self._program.read.data), self._checking.eq(Check.latency)]
            m.next = "START"
        with m.State("START"):
            m.next = "CHECK"
            with m.If(instruction.queued & loop.repeated):
                # Without a complete queue, or for an empty one, one row stands for all: the bytes do not depend on it.
                m.d.sync += instruction.rows.eq(Mux(loop.speculating | loop.dropping, 1, loop.rows))
            with m.Switch(instruction.region):
                for which, register in ((Region.WEIGHTS, settings.weights), (Region.GATES, settings.gates),
                                        (Region.IMAGE, settings.image)):
                    with m.Case(which):
                        m.d.sync += self.base.eq(register)
                with m.Default():
                    m.d.sync += self.base.eq(settings.output)

    def _check_instruction(self, m: Module) -> None:
        """CHECK: waits for the verdict of ``Check``."""
        instruction, fault, command = self.instruction, self._check.fault, self._walk.command
        with m.State("CHECK"):
            m.d.comb += self._check.start.eq(self._checking == Check.latency)
            m.d.sync += self._checking.eq(self._checking - 1)
            m.d.sync += command.payload.address.eq(fault.address)
            m.d.sync += command.payload.beats.eq(instruction.region_beats)
            with m.If(self._checking == 0):
                m.next = "COMMAND"
                with m.If(fault.code != ErrorCode.NONE):
                    self._refuse_unless_speculating(m, fault.code, fault.address)
                with m.Elif(self.loop.forbids(instruction.opcode)):
                    self._refuse_unless_speculating(m, ErrorCode.OPERAND)
                with m.Elif(instruction.opcode == Opcode.END):
                    m.next = "END"
                with m.Elif(instruction.opcode == Opcode.EXPERTS):
                    self.loop.enter(m, self)

    def _ask_for_bytes(self, m: Module) -> None:
        """COMMAND: asks for the instruction's bytes, unless speculation has asked for them."""
        command, loop = self._walk.command, self.loop
        with m.State("COMMAND"):
            m.d.comb += command.valid.eq(self._has_bytes & (loop.speculating | (loop.issued == 0)))
            with m.If(command.ready | ~command.valid):
                m.next = "LOG"
                with m.If(loop.speculating):
                    m.d.sync += loop.issued.eq(loop.issued + self._has_bytes)
                    self._next_instruction(m)
                with m.Elif(self._has_bytes & (loop.issued != 0)):
                    m.d.sync += loop.issued.eq(loop.issued - 1)
                    with m.If(loop.dropping):
                        m.next = "DISPATCH"
                with m.Elif(loop.dropping):
                    self._next_instruction(m)
            with m.Elif(loop.speculating & self.all_finished):
                m.next = "WAIT"

    def _dispatch(self, m: Module) -> None:
        """LOG, DISPATCH: the pass log takes the instruction, then the units do."""
        instruction, started, dispatch = self.instruction, self._walk.started, self._walk.dispatch
        with m.State("LOG"):
            m.d.comb += started.valid.eq(1)
            with m.If(started.ready):
                m.next = "DISPATCH"
        with m.State("DISPATCH"):
            m.d.comb += dispatch.valid.eq(1)
            with m.If(dispatch.ready):
                self._next_instruction(m)
                with m.If(~self.loop.dropping):
                    m.d.sync += [self.sequence.eq(self.sequence + 1), self._dispatches.eq(self._dispatches + 1)]
                    with m.If((instruction.opcode == Opcode.PASS) & (instruction.destination == Destination.ROUTER)):
                        m.d.sync += self.tokens.eq(instruction.rows)
                    with m.If(self._is_last):
                        m.next = "END"

    def _end(self, m: Module) -> None:
        with m.State("END"):
            m.d.comb += self._walk.ended.eq(self.all_finished & (self.pending_drops == 0))
        with m.State("STOPPED"):
            pass
