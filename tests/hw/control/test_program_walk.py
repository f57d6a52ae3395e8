# SPDX-License-Identifier: Apache-2.0
"""The walk through programs: dispatches, log, commands, speculation, and what is refused."""

import numpy as np
import pytest

from moevit.hw.control.program_walk import ProgramWalk
from moevit.hw.layouts import DROP
from moevit.spec.isa import Opcode
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS
from .walk_world import END, EXPERTS, FC1, FC2, FRAME, PROGRAM, STORE, WEIGHTS, World, expected, gate, linear


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("lengths", [[0, 3, 0, 5, 1], [9] * 8, [0] * 7 + [2], [0] * 8])
def test_walk(lengths, stall):
    """Dispatches, log and commands of a program with two expert loops."""
    world = World(FRAME, seed=1, stall=stall, lengths=lengths).run()
    assert (world.dispatched, world.started, world.commands, world.drops) == expected(FRAME, lengths)
    assert [name for name, _ in world.pulses] == ["done"]
    assert not world.unfinished and not world.faults


STORED = {"opcode": Opcode.STORE, "rows": 4, "k_tiles": 2, "source_stride": 2}  # in a body: asks for nothing


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("body", [[FC1, FC2], [FC1, STORED, FC2]], ids=["two", "three"])
@pytest.mark.parametrize("lengths", [[1, 3, 2, 5], [0, 3, 0, 5]], ids=str)
@pytest.mark.parametrize("taken", [0, 1, 3, 100])
def test_speculation(taken, lengths, body, stall):
    """The memory takes ``taken`` of the commands of three experts while the router is at work: these are not given
    again, and those of experts without tokens are dropped. Everything else is as without speculation."""
    program = [linear(), gate(), EXPERTS | {"body": len(body), "speculate": 3}, *body, STORE, linear(), END]
    world = World(program, seed=13, stall=stall, lengths=lengths, slow=300)
    world.commands_taken = 3 + taken  # program, linear, gate
    world.run(limit=10_000)
    ahead = min(taken, 3 * sum(fields is not STORED for fields in body))
    assert world.early == 3 + ahead
    assert (world.dispatched, world.started, world.commands, world.drops) == expected(program, world.lengths,
                                                                                      ahead=ahead)
    assert [name for name, _ in world.pulses] == ["done"]
    assert not world.unfinished and not world.faults


def test_speculation_stops_when_the_queues_are_known():
    """A router that is faster than the speculation: any number of commands goes ahead, a run ends as ever."""
    program = [gate(), EXPERTS | {"speculate": 8}, FC1, FC2, END]
    seen = set()
    for slow in range(1, 400, 25):
        world = World(program, seed=14, stall=0.3, lengths=[0, 2, 0, 1], slow=slow).run()
        candidates = [ahead for ahead in range(17) if expected(program, world.lengths, ahead=ahead)
                      == (world.dispatched, world.started, world.commands, world.drops)]
        assert candidates and [name for name, _ in world.pulses] == ["done"]
        seen.add(candidates[-1])
    assert len(seen) > 3


def test_end_waits_for_what_is_thrown_away():
    program = [gate(), EXPERTS | {"speculate": 2}, FC1, FC2, END]
    world = World(program, seed=15, lengths=[0] * 8, slow=300)
    world.drop_cycles = 200
    world.run()
    assert len(world.drops) == 4 and [name for name, _ in world.pulses] == ["done"]


def test_two_loops_speculate():
    program = [gate(), EXPERTS | {"speculate": 2}, FC1, FC2, gate(), EXPERTS | {"speculate": 3}, FC1, FC2, END]
    world = World(program, seed=16, lengths=[0, 2, 0, 1], slow=300).run(limit=6000)
    assert [expert for _, expert, _ in world.drops] == [0, 0, 0, 0, 2, 2]
    assert len(world.commands) == 1 + (1 + 4 + 2) + (1 + 6 + 2), "early ones, then what only the loop asks for"
    assert len(world.dispatched) == 2 * (1 + 4) and not world.faults


def test_stop_after_never_speculates():
    program = [gate(), EXPERTS | {"speculate": 4}, FC1, FC2, END]
    world = World(program, seed=17, lengths=[0, 2, 3], slow=300)
    world.settings["stop_after"] = 4
    world.run()
    dispatched, _, commands, _ = expected(program, world.lengths)
    assert world.dispatched == dispatched[:4] and world.commands == commands[:5] and not world.drops


@pytest.mark.parametrize(("body", "code", "pc"), [
    ([FC1, FC2 | {"region_beats": 11}], ErrorCode.OPERAND, 3),
    ([FC1, linear(0, queued=1, region_offset=0, source_base=1024)], ErrorCode.OPERAND, 3),
    ([FC1, END], ErrorCode.OPERAND, 3),
    ([FC1, EXPERTS], ErrorCode.OPERAND, 3),
], ids=["beats", "address", "END", "EXPERTS"])
@pytest.mark.parametrize("lengths", [[2, 0, 1], [0, 0, 1], [0] * 8], ids=str)
def test_speculation_refuses_nothing_that_the_loop_does_not_meet(lengths, body, code, pc):
    program = [gate(), EXPERTS | {"speculate": 3}, *body, END]
    world = World(program, seed=18, lengths=lengths, slow=300).run()
    assert world.faults == ([(code, pc, 0)] if any(lengths) else [])
    assert [name for name, _ in world.pulses] == ["error" if any(lengths) else "done"]
    assert world.early == 3, "program, gate, and what was right of the first expert"


def test_wide_bus():
    """An instruction in one beat, and in eight beats that are four bus beats."""
    program = [linear(region_beats=2 * (4 + 64), columns=128), END]
    world = World(program, name="64x64", seed=2)
    world.run()
    assert world.commands == [(PROGRAM, 2), (WEIGHTS, 136)]

    world = World([linear(region_beats=12), END], name="8x8_wide", seed=2)
    world.run()
    assert world.commands == [(PROGRAM, 8), (WEIGHTS, 12)]
    assert [name for name, _ in world.pulses] == ["done"]


def test_latency_of_the_walk():
    """Cycles from one dispatch to the next when nobody waits."""
    world = World([linear()] * 6 + [END], seed=19).run()
    steps = np.diff(world.dispatch_cycles)
    assert list(steps) == [ProgramWalk.latency] * 5


def test_ahead_of_execution():
    """Commands and dispatches of a program go out while its first instruction is still unfinished."""
    program = [linear()] * 6 + [END]
    world = World(program, seed=4)
    world.finishes = False
    world.fail_at = 400
    world.run()
    assert len(world.dispatched) == 6 and len(world.commands) == 7


def test_experts_wait_for_the_router():
    program = [gate(), linear(), EXPERTS, FC1, FC2, END]
    world = World(program, seed=5, lengths=[1, 1])
    world.finishes = False
    world.fail_at = 400
    world.run()
    assert len(world.dispatched) == 2


def test_stop_after():
    world = World(FRAME, seed=6, lengths=[2] * 8)
    world.settings["stop_after"] = 7
    world.run()
    assert world.dispatched == expected(FRAME, world.lengths)[0][:7]
    assert [name for name, _ in world.pulses] == ["done"] and not world.unfinished


@pytest.mark.parametrize(("program", "code", "pc"), [
    ([], ErrorCode.PROGRAM_RANGE, 0),
    ([END] * (TEST_CONFIGS["8x8"].program_length + 1), ErrorCode.PROGRAM_RANGE, 0),
    ([linear()], ErrorCode.PROGRAM_RANGE, 1),
    ([linear()] * 64, ErrorCode.PROGRAM_RANGE, 64),
    ([linear(), linear(rows=0), END], ErrorCode.OPERAND, 1),
    ([linear(), linear(region_beats=25), END], ErrorCode.OPERAND, 1),
    ([linear(), END | {"overlap": 1}], ErrorCode.OPERAND, 1),
    ([EXPERTS, FC1, FC2, END], ErrorCode.OPERAND, 0),
    ([gate(), EXPERTS | {"body": 0}, END], ErrorCode.OPERAND, 1),
    ([gate(), EXPERTS | {"speculate": 9}, FC1, FC2, END], ErrorCode.OPERAND, 1),
    ([gate(), EXPERTS | {"body": 3}, FC1, END], ErrorCode.OPERAND, 1),
    ([gate(), EXPERTS, FC1, EXPERTS, FC1, FC2, END], ErrorCode.OPERAND, 3),
    ([gate(), EXPERTS, FC1, END], ErrorCode.OPERAND, 3),
    ([gate(), FC1, END], ErrorCode.OPERAND, 1),
])
def test_refused_programs(program, code, pc):
    world = World(program, seed=7, lengths=[2]).run()
    assert world.faults == [(code, pc, 0)]
    assert [name for name, _ in world.pulses] == ["error"]


def test_illegal_opcode():
    for opcode in (DROP, 77):
        world = World([linear(), END], seed=8)
        world.program[64] = opcode
        world.run()
        assert world.faults == [(ErrorCode.ILLEGAL_OPCODE, 1, 0)]


def test_addresses_beyond_the_bus():
    world = World([END], seed=9)
    world.settings["program"] = 1 << 40
    assert world.run().faults == [(ErrorCode.READ_WINDOW, 0, 0)]
    world = World([linear(region_offset=0x40), END], seed=9)
    world.settings["weights"] = 3 << 40
    assert world.run().faults == [(ErrorCode.READ_WINDOW, 0, 0x40)]
