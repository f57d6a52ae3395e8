# SPDX-License-Identifier: Apache-2.0
"""The loop over experts in the program walk: whose turn it is, and which bytes speculation has asked for."""

from amaranth import *
from amaranth.hdl import ValueLike

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode
from moevit.spec.registers import ErrorCode

from ..layouts import TOKEN_BITS, instruction_layout
from .error_latch import PC_BITS

__all__ = ["ExpertLoop"]


class ExpertLoop:
    """Registers of the loop over experts and the states that control it; a part of the walk's state machine.

    Attributes
    ----------
    repeated : Signal
        the walk is in the body of an EXPERTS
    body, body_end : Signal
        place of the body's first instruction, and of the first one behind the body
    expert : Signal
        whose turn it is
    rows : Signal
        tokens in the queue of ``expert``
    speculating : Signal
        the walk goes through the body before the queues are complete
    issued : Signal
        commands that speculation issued and that the loop has not reached
    dropping : Signal
        the expert has no tokens, and its bytes were asked for
    """

    def __init__(self, m: Module, config: MachineConfig, lengths: ValueLike):
        self._experts = config.max_experts
        fields = instruction_layout()
        self.repeated = Signal()
        self.body, self.body_end = Signal(PC_BITS), Signal(PC_BITS + 1)
        self.expert = Signal(range(config.max_experts + 1))
        self.rows = Signal(TOKEN_BITS, name="expert_rows")
        self.speculating = Signal()
        self._speculated = Signal(fields["speculate"].shape)  # experts to speculate on
        self.issued = Signal(range(config.max_experts << Shape.cast(fields["body"].shape).width))
        self.dropping = Signal()
        m.d.comb += self.rows.eq(Value.cast(lengths).word_select(self.expert, TOKEN_BITS))

    def leaves_body(self, pc: Value) -> Value:
        """The expert's turn ends before the instruction at ``pc``."""
        return self.repeated & ((pc == self.body_end) | (self.dropping & (self.issued == 0)))

    def next_expert(self, m: Module, pc: Signal) -> None:
        """Goes back to the start of the body, for the next expert."""
        m.d.sync += [self.expert.eq(self.expert + 1), pc.eq(self.body)]
        m.next = "NEXT_EXPERT"

    def enter(self, m: Module, walk) -> None:
        """The instruction is an EXPERTS: takes its fields; refuses those that cannot be."""
        instruction, pc = walk.instruction, walk.pc
        m.d.sync += [self.body.eq(pc + 1), self.body_end.eq(pc + 1 + instruction.body)]
        m.next = "EXPERTS"
        with m.If((instruction.body == 0) | (walk.tokens == 0) | (instruction.speculate > self._experts)):
            walk.refuse(m, ErrorCode.OPERAND)

    def forbids(self, opcode: Value) -> Value:
        """An instruction with ``opcode`` may not be in the body."""
        return self.repeated & ((opcode == Opcode.END) | (opcode == Opcode.EXPERTS))

    def states(self, m: Module, walk) -> None:
        """EXPERTS: speculate or wait. WAIT: for the earlier instructions. NEXT_EXPERT: whose turn is it."""
        pc, instruction = walk.pc, walk.instruction
        with m.State("EXPERTS"):
            with m.If(self.body_end > walk.length):
                walk.refuse(m, ErrorCode.OPERAND)
            with m.Elif((instruction.speculate != 0) & (walk.settings.stop_after == 0) & ~walk.all_finished):
                m.d.sync += [self.repeated.eq(1), pc.eq(self.body)]
                m.d.sync += [self.speculating.eq(1), self._speculated.eq(instruction.speculate)]
                m.next = "NEXT_EXPERT"
            with m.Else():
                m.next = "WAIT"
        with m.State("WAIT"):
            with m.If(walk.all_finished):
                m.d.sync += [self.repeated.eq(1), pc.eq(self.body), self.expert.eq(0), self.speculating.eq(0)]
                m.next = "NEXT_EXPERT"
        with m.State("NEXT_EXPERT"):
            m.d.sync += self.dropping.eq(0)
            with m.If(self.speculating):
                m.next = "READ"
                with m.If(self.expert == self._speculated):
                    m.next = "WAIT"
            with m.Elif(self.expert == self._experts):
                m.d.sync += [self.repeated.eq(0), pc.eq(self.body_end), self.expert.eq(0)]
                m.next = "READ"
            with m.Elif(self.rows != 0):
                m.next = "READ"
            with m.Elif(self.issued != 0):
                m.d.sync += self.dropping.eq(1)
                m.next = "READ"
            with m.Else():
                m.d.sync += self.expert.eq(self.expert + 1)
