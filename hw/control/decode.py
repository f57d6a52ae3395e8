# SPDX-License-Identifier: Apache-2.0
"""Tells legal instructions from illegal ones, as ``spec.isa.decode`` does."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from moevit.spec.isa import FIELDS, Opcode

from ..layouts import instruction_layout

__all__ = ["Decode"]


class Decode(wiring.Component):
    """Finds instructions with an unknown opcode, or with a field that is set and that the opcode does not have.

    Golden: ``spec.isa.decode``.
    Latency: 2 cycles from ``instruction`` to ``illegal`` (`latency`).
    Throughput: one instruction per cycle.
    Back-pressure: none.

    Members
    -------
    instruction : In(instruction_layout())
        512 bits from the program memory
    illegal : Out(1)
        it is no instruction of ``spec.isa``
    """

    latency = 2

    instruction: In(instruction_layout())
    illegal: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        # Stage 1: the fields that are set, and the opcode.
        present = {field.name: Signal(name=f"has_{field.name}") for field in FIELDS}
        is_opcode = {opcode: Signal(name=f"is_{opcode.name.lower()}") for opcode in Opcode}
        for field in FIELDS:
            m.d.sync += present[field.name].eq(getattr(self.instruction, field.name).any())
        for opcode in Opcode:
            m.d.sync += is_opcode[opcode].eq(self.instruction.opcode == opcode)
        # Stage 2: fields that are set and that the opcode does not have.
        legal = [
            is_opcode[opcode] & ~Cat(present[field.name] for field in FIELDS if opcode not in field.opcodes).any()
            for opcode in Opcode
        ]
        m.d.sync += self.illegal.eq(~Cat(legal).any())
        return m
