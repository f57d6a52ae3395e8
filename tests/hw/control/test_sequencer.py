# SPDX-License-Identifier: Apache-2.0
"""The sequencer between a memory, units that take their time, and a host that interrupts."""

from collections import deque

import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.control.sequencer import PATIENCE, Sequencer
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Destination, Opcode, Operand, Stream, encode
from moevit.spec.registers import ErrorCode

PROGRAM, WEIGHTS, GATES, IMAGE = 0x1000, 0x12_3400_0000, 0x20_0000, 0x30_0000
ROUTER = 3  # bit of the router among the units


def linear(rows=4, n_tiles=2, **more):
    """A PASS that is fine; its beats on 8 lanes."""
    return {"opcode": Opcode.PASS, "stream": Stream.WEIGHTS, "stream_beats": n_tiles * 12, "rows": rows,
            "n_tiles": n_tiles, "k_tiles": 1, "columns": 8 * n_tiles, "destination": Destination.HIDDEN,
            "destination_stride": n_tiles, **more}


def gate(rows=9):
    return linear(rows, 1, destination=Destination.ROUTER, top_k=2, stream=Stream.GATES, operand=Operand.NORM)


EXPERTS = {"opcode": Opcode.EXPERTS, "body": 2}
END = {"opcode": Opcode.END}
FC1 = linear(0, queued=1, gather=1, expert_beats=24, stream_offset=0x100)
FC2 = linear(0, 1, queued=1, scatter=1, score=1, expert_beats=12, stream_offset=0x8000)


class World:
    """A sequencer and all that it talks to. ``lengths`` appear when the gate pass finishes."""

    def __init__(self, program, name="8x8", seed=0, stall=0.0, lengths=(), slow=20):
        print(f"{name}, seed {seed}")
        self.config, self.stall, self.slow = CONFIGS[name], stall, slow
        self.random = np.random.default_rng(seed)
        words = [encode(**fields) for fields in program] if program else []
        self.program = np.concatenate([*words, np.zeros(0, np.uint32)]).astype("<u4").view(np.uint8)
        self.settings = {"program": PROGRAM, "program_length": len(program), "weights": WEIGHTS, "gates": GATES,
                         "image": IMAGE, "output": 0}
        self.lengths = list(lengths) + [0] * (self.config.max_experts - len(lengths))
        self.commands, self.dispatched, self.started, self.faults, self.pulses = [], [], [], [], []
        self.unfinished = deque()
        self.fail_at = self.reset_at = self.drained_at = None
        self.finishes = True

    def chance(self):
        return self.random.random() >= self.stall

    def run(self, limit=3000, runs=1):
        self.sequencer = Sequencer(self.config)
        simulator = Simulator(self.sequencer)
        simulator.add_clock(1e-6)

        async def bench(ctx):
            for _ in range(runs):
                self.pulses.clear()
                await self._run(ctx, self.sequencer, limit)

        simulator.add_testbench(bench)
        simulator.run()
        return self

    async def _run(self, ctx, unit, limit):
        for name, value in self.settings.items():
            ctx.set(getattr(unit.settings, name), value)
        assert ctx.get(unit.idle)
        fetch, failed, cleared, busy_until = deque(), False, 0, 0
        for cycle in range(limit):
            ctx.set(unit.start, cycle == 0)
            ctx.set(unit.reset, cycle == self.reset_at)
            ctx.set(unit.failed, failed)
            ctx.set(unit.drained, self.drained_at is None or cycle >= self.drained_at)
            for port in (unit.command, unit.started, unit.dispatch):
                ctx.set(port.ready, self.chance())
            offer = bool(fetch) and self.chance()
            ctx.set(unit.beats.valid, offer)
            if offer:
                ctx.set(unit.beats.payload, fetch[0])
            done, bits = 0, [0, 1, 2, 4]
            while self.unfinished and self.finishes and cycle >= busy_until and bits:
                if self.unfinished[0]["destination"] == Destination.ROUTER:
                    done |= 1 << ROUTER
                    ctx.set(unit.lengths, self.lengths)
                    bits = []
                else:
                    done |= 1 << bits.pop()  # several at a time, now and then
                self.unfinished.popleft()
                if self.chance():
                    break
            busy_until = max(busy_until, cycle + self.slow) if done else busy_until
            ctx.set(unit.finishing, done)

            if ctx.get(unit.command.valid) and ctx.get(unit.command.ready):
                address, beats = ctx.get(unit.command.payload.address), ctx.get(unit.command.payload.beats)
                self.commands.append((address, beats))
                if address == PROGRAM:
                    size = self.config.bus_bytes
                    parts = self.program.reshape(-1, size)[:beats]
                    fetch.extend(int.from_bytes(part.tobytes(), "little") for part in parts)
            if offer and ctx.get(unit.beats.ready):
                assert ctx.get(unit.fetching)
                fetch.popleft()
            if ctx.get(unit.started.valid) and ctx.get(unit.started.ready):
                payload = unit.started.payload
                self.started.append(tuple(ctx.get(field) for field in (payload.pc, payload.expert, payload.rows)))
            if ctx.get(unit.dispatch.valid) and ctx.get(unit.dispatch.ready):
                payload = unit.dispatch.payload
                fields = {name: ctx.get(getattr(payload.instruction, name))
                          for name in ("opcode", "rows", "overlap", "stream_beats", "destination", "n_tiles")}
                self.dispatched.append((ctx.get(payload.sequence), ctx.get(payload.expert), fields["rows"],
                                        fields["stream_beats"]))
                self.unfinished.append(fields)
                busy_until = max(busy_until, cycle + self.slow)
            if ctx.get(unit.fault.valid):
                payload = unit.fault.payload
                self.faults.append((ErrorCode(ctx.get(payload.code)), ctx.get(payload.pc), ctx.get(payload.address)))
                failed = True
            failed = failed or cycle == self.fail_at
            for name in ("done", "error", "reset_done"):
                if ctx.get(getattr(unit, name)):
                    self.pulses.append((name, cycle))
            if ctx.get(unit.clear):
                self.unfinished.clear()
                assert not cleared or not (ctx.get(unit.dispatch.valid) or ctx.get(unit.command.valid))
            cleared = ctx.get(unit.clear)
            await ctx.tick()
            if self.pulses and ctx.get(unit.idle):
                ctx.set(unit.failed, 0)
                ctx.set(unit.finishing, 0)
                return
        raise AssertionError(f"not idle after {limit} cycles")


def expected(program, lengths, size=8):
    """Dispatches (sequence, expert, rows, beats), log entries (pc, expert, rows) and commands, by walking."""
    bases = {Stream.WEIGHTS: WEIGHTS, Stream.GATES: GATES, Stream.IMAGE: IMAGE}
    dispatched, started, commands = [], [], [(PROGRAM, len(program) * 64 // size)]

    def execute(pc, expert):
        fields = program[pc]
        rows = lengths[expert] if fields.get("queued") else fields["rows"]
        dispatched.append((len(dispatched), expert, rows, fields.get("stream_beats", 0)))
        started.append((pc, expert, rows))
        if fields.get("stream_beats"):
            offset = fields.get("stream_offset", 0) + expert * fields.get("expert_beats", 0) * size
            commands.append((bases[fields["stream"]] + offset, fields["stream_beats"]))

    pc = 0
    while program[pc]["opcode"] != Opcode.END:
        if program[pc]["opcode"] == Opcode.EXPERTS:
            body = range(pc + 1, pc + 1 + program[pc]["body"])
            for expert, length in enumerate(lengths):
                for inner in body if length else ():
                    execute(inner, expert)
            pc = body.stop
        else:
            execute(pc, 0)
            pc += 1
    return dispatched, started, commands


STORE = {"opcode": Opcode.STORE, "rows": 4, "k_tiles": 2, "source_stride": 2}
FRAME = [linear(), STORE, linear(3, 1, stream=Stream.IMAGE, stream_offset=64), gate(), EXPERTS, FC1, FC2, STORE, gate(),
         EXPERTS, FC1, FC2, END]


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("lengths", [[0, 3, 0, 5, 1], [9] * 8, [0] * 7 + [2], [0] * 8])
def test_walk(lengths, stall):
    """Dispatches, log and commands of a program with two expert loops."""
    world = World(FRAME, seed=1, stall=stall, lengths=lengths).run()
    dispatched, started, commands = expected(FRAME, lengths)
    assert world.dispatched == dispatched
    assert world.started == started
    assert world.commands == commands
    assert [name for name, _ in world.pulses] == ["done"]
    assert not world.unfinished and not world.faults


def test_wide_bus():
    """An instruction in one beat."""
    program = [linear(stream_beats=2 * (4 + 64), columns=128), END]
    world = World(program, name="64x64", seed=2)
    world.run()
    assert world.commands == [(PROGRAM, 2), (WEIGHTS, 136)]


def test_runs_again():
    world = World([linear(), END], seed=3).run(runs=1)
    first = list(world.dispatched)
    world.pulses.clear()
    world.run()
    assert world.dispatched == first * 2


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
    ([END] * 65, ErrorCode.PROGRAM_RANGE, 0),
    ([linear()], ErrorCode.PROGRAM_RANGE, 1),
    ([linear()] * 64, ErrorCode.PROGRAM_RANGE, 64),
    ([linear(), linear(rows=0), END], ErrorCode.OPERAND, 1),
    ([linear(), linear(stream_beats=25), END], ErrorCode.OPERAND, 1),
    ([linear(), END | {"overlap": 1}], ErrorCode.OPERAND, 1),
    ([EXPERTS, FC1, FC2, END], ErrorCode.OPERAND, 0),
    ([gate(), EXPERTS | {"body": 0}, END], ErrorCode.OPERAND, 1),
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
    world = World([linear(), END], seed=8)
    world.program[64] = 77
    world.run()
    assert world.faults == [(ErrorCode.ILLEGAL_OPCODE, 1, 0)]


def test_addresses_beyond_the_bus():
    world = World([END], seed=9)
    world.settings["program"] = 1 << 40
    assert world.run().faults == [(ErrorCode.READ_WINDOW, 0, 0)]
    world = World([linear(stream_offset=0x40), END], seed=9)
    world.settings["weights"] = 3 << 40
    assert world.run().faults == [(ErrorCode.READ_WINDOW, 0, 0x40)]


@pytest.mark.parametrize("at", [1, 5, 40, 90, 133, 200, 350])
def test_failure_anywhere(at):
    """The machine is idle again, once the bus is drained."""
    world = World(FRAME, seed=10, lengths=[2] * 8)
    world.fail_at, world.drained_at = at, at + 60
    world.run()
    assert world.pulses == [("error", at + 60)]
    assert not world.unfinished


@pytest.mark.parametrize("at", [1, 2, 40, 90, 133, 200])
def test_reset_anywhere(at):
    world = World(FRAME, seed=11, lengths=[2] * 8)
    world.reset_at, world.drained_at = at, at + 30
    world.run()
    assert world.pulses == [("reset_done", at + 30)]


def test_reset_when_idle():
    sequencer = Sequencer(CONFIGS["8x8"])
    seen = []

    async def bench(ctx):
        ctx.set(sequencer.drained, 1)
        for cycle in range(8):
            ctx.set(sequencer.reset, cycle == 2)
            seen.append((ctx.get(sequencer.reset_done), ctx.get(sequencer.idle), ctx.get(sequencer.clear)))
            await ctx.tick()

    simulator = Simulator(sequencer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert [done for done, _, _ in seen].count(1) == 1
    assert seen[3] == (0, 0, 1) and seen[-1] == (0, 1, 0)


def test_memory_that_never_answers():
    """The error is reported though the machine cannot become idle; reset waits."""
    world = World([linear(), END], seed=12)
    world.fail_at, world.drained_at = 50, 10**9
    with pytest.raises(AssertionError, match="not idle"):
        world.run(limit=PATIENCE + 300)
    (name, cycle), = world.pulses
    assert name == "error" and PATIENCE < cycle < PATIENCE + 60
