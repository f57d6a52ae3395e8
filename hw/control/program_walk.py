# SPDX-License-Identifier: Apache-2.0
"""Walks the program: fetches it, checks each instruction, asks for its bytes, dispatches it, repeats expert bodies."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import INSTRUCTION_BYTES, Destination, Opcode, Region
from moevit.spec.registers import ErrorCode

from ..bus.fault import ADDRESS_BITS
from ..bus.registers import settings_layout
from ..interfaces import DROP, SEQUENCE_BITS, TOKEN_BITS, Flow, command_layout, dispatch_layout, instruction_layout
from .check import Check
from .error_latch import PC_BITS, error_layout
from .pass_log import started_layout
from .program import Program

__all__ = ["UNITS", "ProgramWalk"]

#: Who can finish an instruction: loader, row reader, row writer, router, write master.
UNITS = 5


class ProgramWalk(wiring.Component):
    """One run, from ``start`` to ``ended`` or ``fault``; reset it before the next.

    An instruction takes ``Check.LATENCY`` + 5 cycles, or longer if somebody is not ready: so it runs ahead of the
    units as far as their queues are deep. It waits for all earlier instructions at EXPERTS (the queues must be
    complete) and at END. An expert without tokens costs one cycle.

    While it waits at EXPERTS it speculates, unless ``stop_after`` is set: it goes through the body for the first
    ``speculate`` experts and asks for their bytes, dispatching nothing. It stops in front of its next command, or takes
    back the one that it shows, once the earlier instructions are finished. The loop then asks for what was not asked
    for yet; what an expert without tokens was given is dispatched as DROP, which is neither numbered nor logged.

    Refused besides what ``Check`` refuses: PROGRAM_RANGE, a program of no instructions, of more than the memory holds,
    or without END; OPERAND, EXPERTS without a body, with one that reaches beyond the program, within EXPERTS or before
    any router pass of the run, one that speculates on more experts than there are, and END within EXPERTS. What
    speculation meets first is refused when the loop comes to it, as if there were no speculation.

    Members
    -------
    start : one pulse
    settings : the host's registers
    lengths : tokens in the queue of each expert
    beats : stream, the program; taken only while ``fetching``
    command : stream of stretches to be read from the memory bus; may be taken back before it is taken
    started : stream, the instruction that is dispatched next
    dispatch : stream of instructions but END and EXPERTS, and of DROPs
    dropped : a DROP is done with
    done : one bit per unit, an instruction is finished
    finished : instructions finished so far, modulo 2^16
    pc : instruction concerned by a fault now
    ended : all instructions are finished; stays
    fault : what stopped the walk, one pulse
    moved : something happened
    """

    def __init__(self, config: MachineConfig):
        self._config = config
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
            "done": In(UNITS),
            "finished": Out(SEQUENCE_BITS),
            "pc": Out(PC_BITS),
            "ended": Out(1),
            "fault": Out(Flow(error_layout())),
            "moved": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, settings = self._config, self.settings
        m.submodules.program = program = Program(config)
        m.submodules.check = check = Check(config)
        connect(m, flipped(self.beats), program.beats)

        instruction, sequence = Signal(instruction_layout()), Signal(SEQUENCE_BITS)
        pc, address = self.pc, self.command.payload.address
        length = Signal(range(config.program_length + 1))
        repeated, body, body_end = Signal(), Signal(PC_BITS), Signal(PC_BITS + 1)
        expert = Signal(range(config.max_experts + 1))
        expert_rows = Signal(TOKEN_BITS)
        tokens = Signal(TOKEN_BITS)  # the router's rows
        speculating, speculated = Signal(), Signal.like(instruction.speculate)
        # Commands that the loop need not give again; DROPs under way.
        ahead = Signal(range(config.max_experts << len(instruction.body)))
        dropping, drops = Signal(), Signal.like(ahead)
        streams = Signal()
        started, enough = Signal(32), Signal()
        base = Signal(64)
        left = Signal(range(Check.LATENCY + 1))
        all_finished = Signal()

        m.d.comb += [
            self.dispatch.payload.instruction.eq(instruction),
            self.dispatch.payload.instruction.opcode.eq(Mux(dropping, DROP, instruction.opcode)),
            self.dispatch.payload.sequence.eq(sequence),
            self.dispatch.payload.expert.eq(expert),
            self.started.payload.pc.eq(pc),
            self.started.payload.expert.eq(expert),
            self.started.payload.rows.eq(instruction.rows),
            self.fetching.eq(program.fill),
            program.read.address.eq(pc),
            check.instruction.eq(instruction),
            check.repeated.eq(repeated),
            check.expert.eq(expert),
            check.tokens.eq(tokens),
            check.base.eq(base),
            self.fault.payload.pc.eq(pc),
        ]
        m.d.comb += streams.eq(instruction.region_beats != 0)
        m.d.comb += expert_rows.eq(Value.cast(self.lengths).word_select(expert, TOKEN_BITS))

        # Several units may finish in one cycle.
        count = Signal(range(UNITS + 1))
        m.d.comb += count.eq(sum(self.done))
        m.d.sync += self.finished.eq(self.finished + count)
        m.d.comb += all_finished.eq(self.finished == sequence)
        dispatched = self.dispatch.valid & self.dispatch.ready
        m.d.sync += drops.eq(drops + (dispatched & dropping) - self.dropped)

        m.d.sync += enough.eq((settings.stop_after != 0) & (started + 1 == settings.stop_after))

        m.d.sync += self.fault.valid.eq(0)

        def refuse(code, at=0):
            m.d.sync += [
                self.fault.valid.eq(1),
                self.fault.payload.code.eq(code),
                self.fault.payload.address.eq(at),
            ]
            m.next = "STOPPED"

        def refuse_unless_speculating(code, at=0):
            with m.If(speculating):
                m.next = "WAIT"
            with m.Else():
                refuse(code, at)

        def next_instruction():
            m.d.sync += pc.eq(pc + 1)
            m.next = "READ"

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [length.eq(settings.program_length), address.eq(settings.program)]
                    m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.sync += self.command.payload.beats.eq(length << exact_log2(INSTRUCTION_BYTES // config.bus_bytes))
                m.next = "FETCH"
                with m.If((settings.program_length == 0) | (settings.program_length > config.program_length)):
                    refuse(ErrorCode.PROGRAM_RANGE)
                with m.Elif(settings.program[ADDRESS_BITS:].any()):
                    refuse(ErrorCode.READ_WINDOW, address)
            with m.State("FETCH"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += program.fill.eq(1)
                with m.If(program.filled == length):
                    m.next = "READ"

            with m.State("READ"):
                m.d.comb += program.read.enable.eq(1)
                m.next = "TAKE"
                with m.If(repeated & ((pc == body_end) | (dropping & (ahead == 0)))):
                    m.d.sync += [expert.eq(expert + 1), pc.eq(body)]
                    m.next = "NEXT_EXPERT"
                with m.Elif(speculating & all_finished):
                    m.next = "WAIT"
                with m.Elif(pc >= length):
                    refuse(ErrorCode.PROGRAM_RANGE)
            with m.State("TAKE"):
                m.d.sync += [instruction.eq(program.read.data), left.eq(Check.LATENCY)]
                m.next = "START"
            with m.State("START"):
                m.next = "CHECK"
                with m.If(instruction.queued & repeated):
                    # The queue is not known, or empty: what is right for a row is right as far as the bytes go.
                    m.d.sync += instruction.rows.eq(Mux(speculating | dropping, 1, expert_rows))
                with m.Switch(instruction.region):
                    for which, register in ((Region.WEIGHTS, settings.weights), (Region.GATES, settings.gates),
                                            (Region.IMAGE, settings.image)):
                        with m.Case(which):
                            m.d.sync += base.eq(register)
                    with m.Default():
                        m.d.sync += base.eq(settings.output)
            with m.State("CHECK"):
                m.d.comb += check.start.eq(left == Check.LATENCY)
                m.d.sync += left.eq(left - 1)
                m.d.sync += address.eq(check.fault.address)
                m.d.sync += self.command.payload.beats.eq(instruction.region_beats)
                with m.If(left == 0):
                    m.next = "COMMAND"
                    with m.If(check.fault.code != ErrorCode.NONE):
                        refuse_unless_speculating(check.fault.code, check.fault.address)
                    with m.Elif(repeated & ((instruction.opcode == Opcode.END)
                                            | (instruction.opcode == Opcode.EXPERTS))):
                        refuse_unless_speculating(ErrorCode.OPERAND)
                    with m.Elif(instruction.opcode == Opcode.END):
                        m.next = "END"
                    with m.Elif(instruction.opcode == Opcode.EXPERTS):
                        m.d.sync += [body.eq(pc + 1), body_end.eq(pc + 1 + instruction.body)]
                        m.next = "EXPERTS"
                        with m.If((instruction.body == 0) | (tokens == 0)
                                  | (instruction.speculate > config.max_experts)):
                            refuse(ErrorCode.OPERAND)

            with m.State("COMMAND"):
                m.d.comb += self.command.valid.eq(streams & (speculating | (ahead == 0)))
                with m.If(self.command.ready | ~self.command.valid):
                    m.next = "LOG"
                    with m.If(speculating):
                        m.d.sync += ahead.eq(ahead + streams)
                        next_instruction()
                    with m.Elif(streams & (ahead != 0)):
                        m.d.sync += ahead.eq(ahead - 1)
                        with m.If(dropping):
                            m.next = "DISPATCH"
                    with m.Elif(dropping):
                        next_instruction()
                with m.Elif(speculating & all_finished):
                    m.next = "WAIT"
            with m.State("LOG"):
                m.d.comb += self.started.valid.eq(1)
                with m.If(self.started.ready):
                    m.next = "DISPATCH"
            with m.State("DISPATCH"):
                m.d.comb += self.dispatch.valid.eq(1)
                with m.If(self.dispatch.ready):
                    next_instruction()
                    with m.If(~dropping):
                        m.d.sync += [sequence.eq(sequence + 1), started.eq(started + 1)]
                        with m.If((instruction.opcode == Opcode.PASS)
                                  & (instruction.destination == Destination.ROUTER)):
                            m.d.sync += tokens.eq(instruction.rows)
                        with m.If(enough):
                            m.next = "END"

            with m.State("EXPERTS"):
                with m.If(body_end > length):
                    refuse(ErrorCode.OPERAND)
                with m.Elif((instruction.speculate != 0) & (settings.stop_after == 0) & ~all_finished):
                    m.d.sync += [repeated.eq(1), pc.eq(body)]
                    m.d.sync += [speculating.eq(1), speculated.eq(instruction.speculate)]
                    m.next = "NEXT_EXPERT"
                with m.Else():
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(all_finished):
                    m.d.sync += [repeated.eq(1), pc.eq(body), expert.eq(0), speculating.eq(0)]
                    m.next = "NEXT_EXPERT"
            with m.State("NEXT_EXPERT"):
                m.d.sync += dropping.eq(0)
                with m.If(speculating):
                    m.next = "READ"
                    with m.If(expert == speculated):
                        m.next = "WAIT"
                with m.Elif(expert == config.max_experts):
                    m.d.sync += [repeated.eq(0), pc.eq(body_end), expert.eq(0)]
                    m.next = "READ"
                with m.Elif(expert_rows != 0):
                    m.next = "READ"
                with m.Elif(ahead != 0):
                    m.d.sync += dropping.eq(1)
                    m.next = "READ"
                with m.Else():
                    m.d.sync += expert.eq(expert + 1)

            with m.State("END"):
                m.d.comb += self.ended.eq(all_finished & (drops == 0))
            with m.State("STOPPED"):
                pass
        m.d.comb += self.moved.eq(count.any() | (self.command.valid & self.command.ready)
                                  | dispatched | self.beats.valid & self.beats.ready)
        return m
