# SPDX-License-Identifier: Apache-2.0
"""Checks an instruction before it is dispatched: fields in range, addresses inside the memories, the right beats."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Opcode, Region
from moevit.spec.registers import ErrorCode

from ..fault import ADDRESS_BITS, fault_layout
from ..layouts import EXPERT_BITS, TOKEN_BITS, instruction_layout
from ..plumbing.memories import CHUNK
from .check_counts import CheckCounts
from .check_rules import CheckRules
from .check_terms import NO_LIMIT, CheckTerms, TermCycle
from .decode import Decode

__all__ = ["Check"]

_TOTAL_BITS = 38
_DEPTH = 3  # cycles from a term's choice to its total


class Check(wiring.Component):
    """Judges an instruction, and computes the address of its bytes.

    ``address = base + region_offset + expert x expert_beats x bus_bytes``

    ILLEGAL_OPCODE: see ``Decode``. OPERAND means something that this hardware cannot do:

    - an enumeration's value that does not exist; rows 0 or beyond ``max_tokens``; k_tiles, n_tiles, patch, segment,
      patches_x, keys (EXP), dim, epsilon (NORM) of 0; dim or the gain beyond the row or its memory
    - overlap of anything but a PASS; queued outside EXPERTS; gather, scatter or score without queued; rowwise with
      gather or copy
    - columns that do not end in the last n-tile; rows that are not a multiple of patches_x
    - first_word where an n-tile is one word, or with no column left
    - digits of operands that have none, or with tiles that are not streamed
    - digits, sigmoid, biased or sets_bias that are not for the router; sets_bias of several rows
    - more than GROUPS groups, groups in a queued pass, or a gap without groups
    - a router pass with more than one n-tile, more columns than experts, top_k of 0 or beyond columns, in EXPERTS
    - rows, tiles or peaks beyond the end of their memory
    - region_beats other than the bus beats that the instruction consumes; region_beats without a region

    READ_WINDOW, WRITE_WINDOW: the address has more than the bus's 40 bits.

    Latency: 15 cycles from ``start`` to ``fault`` (`latency`); the division by patches_x takes longest.
    Throughput: one instruction per `latency` cycles.
    Back-pressure: none.

    Parameters
    ----------
    config : MachineConfig
        lanes, sizes of the memories, number of experts

    Members
    -------
    start : In(1)
        one pulse; the other inputs are steady from then on until ``fault`` is used
    instruction : In(instruction_layout())
        the instruction; its ``rows`` are those of the queue when queued
    repeated : In(1)
        it is in the body of EXPERTS
    expert : In(5)
        the expert whose turn it is
    tokens : In(12)
        rows that the router saw; the queues name no others
    base : In(64)
        byte address that ``region_offset`` counts from
    fault : Out(fault_layout())
        NONE or the reason, and the address; the address is 0 after ILLEGAL_OPCODE and OPERAND
    """

    latency = 15

    def __init__(self, config: MachineConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(instruction_layout()),
            "repeated": In(1),
            "expert": In(EXPERT_BITS),
            "tokens": In(TOKEN_BITS),
            "base": In(64),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        cycle = Signal(range(self.latency + 1))  # after the start
        with m.If(self.start):
            m.d.sync += cycle.eq(0)
        with m.Elif(cycle != self.latency):
            m.d.sync += cycle.eq(cycle + 1)

        counts = CheckCounts(m, self._config, self.instruction, self.tokens)
        counts.follow_groups(m, self.start, cycle)
        terms = CheckTerms(m, self._config, self.instruction, counts)
        terms.choose(m, cycle, self.expert)
        rules = CheckRules(m, self._config, self.instruction, self.repeated, self.start, counts)
        refused = Signal()
        m.d.sync += refused.eq(Cat(rules.broken).any())

        total, exceeds = self._multiply(m, terms)
        with m.If(cycle == TermCycle.CHUNKS + _DEPTH):
            m.d.sync += terms.chunks.eq(total)
        wrong_beats = self._compare_beats(m, cycle, total, counts)
        address = self._find_address(m, cycle, total)
        self._judge(m, counts, refused | exceeds | wrong_beats, address)
        return m

    def _multiply(self, m: Module, terms: CheckTerms) -> tuple[Signal, Signal]:
        """The total of each term, and whether one of them exceeds its limit: multiply, add, compare."""
        term = terms.term
        product, addend = Signal(_TOTAL_BITS), Signal(_TOTAL_BITS)
        total, exceeds = Signal(_TOTAL_BITS), Signal()
        limits = [term.limit]
        for stage in range(2):
            limits.append(Signal(term.limit.shape(), name=f"limit_{stage}", init=NO_LIMIT))
            m.d.sync += limits[-1].eq(limits[-2])
        m.d.sync += [
            product.eq(term.left * term.right),
            addend.eq(Mux(term.chained, total, term.first) + term.extra),
            total.eq(product + addend),
            exceeds.eq(~self.start & (exceeds | ((limits[-1] != NO_LIMIT) & (total >= limits[-1])))),
        ]
        return total, exceeds

    def _compare_beats(self, m: Module, cycle: Value, total: Value, counts: CheckCounts) -> Signal:
        """``region_beats`` are not those that the instruction consumes."""
        config, instruction = self._config, self.instruction
        wrong, beats = Signal(name="wrong_beats"), Signal(_TOTAL_BITS)
        chunk_bits = exact_log2(config.bus_bytes // CHUNK)
        # Only an image can end within a bus beat.
        m.d.sync += beats.eq(Mux(counts.is_opcode[Opcode.IMAGE], (total + (1 << chunk_bits) - 1) >> chunk_bits,
                                 total >> exact_log2(config.bus_beats)))
        with m.If(cycle == TermCycle.BEATS + _DEPTH + 1):
            m.d.sync += wrong.eq(beats != instruction.region_beats)
        return wrong

    def _find_address(self, m: Module, cycle: Value, total: Value) -> Signal:
        """Where the bytes are; wider than the bus's addresses."""
        offset, address = Signal(_TOTAL_BITS), Signal(65)
        with m.If(cycle == TermCycle.EXPERT + _DEPTH):
            m.d.sync += offset.eq((total << exact_log2(self._config.bus_bytes)) + self.instruction.region_offset)
        m.d.sync += address.eq(self.base + offset)
        return address

    def _judge(self, m: Module, counts: CheckCounts, refused: Value, address: Value) -> None:
        """``fault``, the gravest reason first."""
        is_opcode, fault = counts.is_opcode, self.fault
        m.submodules.decode = decode = Decode()
        m.d.comb += decode.instruction.eq(self.instruction)
        reads = (is_opcode[Opcode.PASS] | is_opcode[Opcode.NORM] | is_opcode[Opcode.LOAD] | is_opcode[Opcode.IMAGE])
        has_bytes, outside = Signal(), Signal()
        m.d.sync += [
            has_bytes.eq(is_opcode[Opcode.STORE] | (reads & (self.instruction.region != Region.NONE))),
            outside.eq(has_bytes & address[ADDRESS_BITS:].any()),
        ]
        with m.If(decode.illegal):
            m.d.comb += fault.code.eq(ErrorCode.ILLEGAL_OPCODE)
        with m.Elif(refused):
            m.d.comb += fault.code.eq(ErrorCode.OPERAND)
        with m.Else():
            m.d.comb += fault.address.eq(address)
            with m.If(outside):
                m.d.comb += fault.code.eq(Mux(is_opcode[Opcode.STORE], ErrorCode.WRITE_WINDOW, ErrorCode.READ_WINDOW))
