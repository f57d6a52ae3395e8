# SPDX-License-Identifier: Apache-2.0
"""The run lifecycle between a memory, units that take their time, and a host that interrupts."""

from collections import deque

import numpy as np
import pytest

from moevit.hw.control.program_walk import ProgramWalk
from moevit.hw.control.run_lifecycle import DRAIN_LIMIT, RunLifecycle
from moevit.hw.layouts import DROP
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import Destination, Opcode, Operand, Region, encode
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS

PROGRAM, WEIGHTS, GATES, IMAGE = 0x1000, 0x12_3400_0000, 0x20_0000, 0x30_0000
ROUTER = 3  # bit of the router among the units


def linear(rows=4, n_tiles=2, **more):
    """A PASS that is fine; its beats on 8 lanes."""
    return {"opcode": Opcode.PASS, "region": Region.WEIGHTS, "region_beats": n_tiles * 12, "rows": rows,
            "n_tiles": n_tiles, "k_tiles": 1, "columns": 8 * n_tiles, "destination": Destination.HIDDEN,
            "destination_stride": n_tiles, **more}


def gate(rows=9):
    return linear(rows, 1, destination=Destination.ROUTER, top_k=2, region=Region.GATES, operand=Operand.NORM)


EXPERTS = {"opcode": Opcode.EXPERTS, "body": 2}
END = {"opcode": Opcode.END}
FC1 = linear(0, queued=1, gather=1, expert_beats=24, region_offset=0x100)
FC2 = linear(0, 1, queued=1, scatter=1, score=1, expert_beats=12, region_offset=0x8000)


class World:
    """A run lifecycle and all that it talks to. ``lengths`` appear when the gate pass finishes.

    The memory takes only the first ``commands_taken`` commands before that, and ``drop_cycles`` for a DROP.
    """

    def __init__(self, program, name="8x8", seed=0, stall=0.0, lengths=(), slow=20):
        print(f"{name}, seed {seed}")
        self.config, self.stall, self.slow = TEST_CONFIGS[name], stall, slow
        self.random = np.random.default_rng(seed)
        words = [encode(**fields) for fields in program] if program else []
        self.program = np.concatenate([*words, np.zeros(0, np.uint32)]).astype("<u4").view(np.uint8)
        self.settings = {"program": PROGRAM, "program_length": len(program), "weights": WEIGHTS, "gates": GATES,
                         "image": IMAGE, "output": 0}
        self.lengths = list(lengths) + [0] * (self.config.max_experts - len(lengths))
        self.commands, self.dispatched, self.started, self.faults, self.pulses = [], [], [], [], []
        self.dispatch_cycles = []
        self.drops = []  # instructions dispatched before it, its expert, its beats
        self.early = 0  # commands taken before the (last) router pass finished
        self.commands_taken, self.drop_cycles = 10**9, 3
        self.unfinished = deque()
        self.fail_at = self.reset_at = self.drained_at = None
        self.finishes = True

    def chance(self):
        return self.random.random() >= self.stall

    def run(self, limit=3000, runs=1):
        unit = RunLifecycle(self.config)

        async def bench(ctx):
            for _ in range(runs):
                self.pulses.clear()
                await self._run(ctx, unit, limit)

        StreamBench(unit).simulate(bench)
        return self

    async def _run(self, ctx, unit, limit):
        for name, value in self.settings.items():
            ctx.set(getattr(unit.settings, name), value)
        assert ctx.get(unit.idle)
        fetch, failed, cleared, busy_until, dropping, routed = deque(), False, 0, 0, deque(), None
        for cycle in range(limit):
            ctx.set(unit.start, cycle == 0)
            ctx.set(unit.reset, cycle == self.reset_at)
            ctx.set(unit.failed, failed)
            ctx.set(unit.drained, self.drained_at is None or cycle >= self.drained_at)
            for port in (unit.command, unit.started, unit.dispatch):
                ctx.set(port.ready, self.chance())
            if len(self.commands) >= self.commands_taken and (routed is None or cycle <= routed + 1):
                ctx.set(unit.command.ready, 0)
            dropped = bool(dropping) and dropping[0] <= cycle
            ctx.set(unit.dropped, dropped)
            if dropped:
                dropping.popleft()
            offer = bool(fetch) and self.chance()
            ctx.set(unit.beats.valid, offer)
            if offer:
                ctx.set(unit.beats.payload, fetch[0])
            done, bits = 0, [0, 1, 2, 4]
            while self.unfinished and self.finishes and cycle >= busy_until and bits:
                if self.unfinished[0]["destination"] == Destination.ROUTER:
                    done |= 1 << ROUTER
                    ctx.set(unit.lengths, self.lengths)
                    bits, routed, self.early = [], cycle, len(self.commands)
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
                    parts = self.program[:beats * self.config.bus_bytes].reshape(-1, self.config.beat_bytes)
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
                          for name in ("opcode", "rows", "overlap", "region_beats", "destination", "n_tiles")}
                expert, beats = ctx.get(payload.expert), fields["region_beats"]
                if fields["opcode"] == DROP:
                    self.drops.append((len(self.dispatched), expert, beats))
                    dropping.append(max([cycle, *dropping]) + self.drop_cycles)
                else:
                    self.dispatched.append((ctx.get(payload.sequence), expert, fields["rows"], beats))
                    self.dispatch_cycles.append(cycle)
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
            assert not (dropping and ctx.get(unit.done)), "beats are still to be thrown away"
            if ctx.get(unit.clear):
                self.unfinished.clear()
                dropping.clear()
                assert not cleared or not (ctx.get(unit.dispatch.valid) or ctx.get(unit.command.valid))
            cleared = ctx.get(unit.clear)
            await ctx.tick()
            if self.pulses and ctx.get(unit.idle):
                ctx.set(unit.failed, 0)
                ctx.set(unit.finishing, 0)
                return
        raise AssertionError(f"not idle after {limit} cycles")


def expected(program, lengths, size=8, ahead=0):
    """Dispatches (sequence, expert, rows, beats), log entries (pc, expert, rows) and commands, by walking; and DROPs,
    if the first ``ahead`` commands of each expert loop were given before the router was done."""
    bases = {Region.WEIGHTS: WEIGHTS, Region.GATES: GATES, Region.IMAGE: IMAGE}
    dispatched, started, commands, drops = [], [], [(PROGRAM, len(program) * 64 // size)], []

    def ask(pc, expert):
        fields = program[pc]
        offset = fields.get("region_offset", 0) + expert * fields.get("expert_beats", 0) * size
        commands.append((bases[fields["region"]] + offset, fields["region_beats"]))

    def execute(pc, expert, asked=False):
        fields = program[pc]
        rows = lengths[expert] if fields.get("queued") else fields["rows"]
        dispatched.append((len(dispatched), expert, rows, fields.get("region_beats", 0)))
        started.append((pc, expert, rows))
        if fields.get("region_beats") and not asked:
            ask(pc, expert)

    pc = 0
    while program[pc]["opcode"] != Opcode.END:
        if program[pc]["opcode"] == Opcode.EXPERTS:
            body = range(pc + 1, pc + 1 + program[pc]["body"])
            streams = [(inner, expert) for expert in range(len(lengths)) for inner in body
                       if program[inner].get("region_beats")]
            asked = streams[:ahead]
            for place in asked:
                ask(*place)
            for expert, length in enumerate(lengths):
                for inner in body:
                    if length:
                        execute(inner, expert, (inner, expert) in asked)
                    elif (inner, expert) in asked:
                        drops.append((len(dispatched), expert, program[inner]["region_beats"]))
            pc = body.stop
        else:
            execute(pc, 0)
            pc += 1
    return dispatched, started, commands, drops


STORE = {"opcode": Opcode.STORE, "rows": 4, "k_tiles": 2, "source_stride": 2}
FRAME = [linear(), STORE, linear(3, 1, region=Region.IMAGE, region_offset=64), gate(), EXPERTS, FC1, FC2, STORE, gate(),
         EXPERTS, FC1, FC2, END]
SPECULATIVE = [gate(), EXPERTS | {"speculate": 8}, FC1, FC2, END]


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


@pytest.mark.parametrize("program", [FRAME, SPECULATIVE], ids=["", "speculation"])
@pytest.mark.parametrize("at", [1, 5, 40, 90, 133, 200, 350])
def test_failure_anywhere(at, program):
    """The machine is idle again, once the bus is drained."""
    world = World(program, seed=10, lengths=[2, 0] * 4, slow=100)
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
    lifecycle = RunLifecycle(TEST_CONFIGS["8x8"])
    seen = []

    async def bench(ctx):
        ctx.set(lifecycle.drained, 1)
        for cycle in range(8):
            ctx.set(lifecycle.reset, cycle == 2)
            seen.append((ctx.get(lifecycle.reset_done), ctx.get(lifecycle.idle), ctx.get(lifecycle.clear)))
            await ctx.tick()

    StreamBench(lifecycle).simulate(bench)
    assert [done for done, _, _ in seen].count(1) == 1
    assert seen[3] == (0, 0, 1) and seen[-1] == (0, 1, 0)


def test_memory_that_never_answers():
    """The error is reported though the machine cannot become idle; reset waits."""
    world = World([linear(), END], seed=12)
    world.fail_at, world.drained_at = 50, 10**9
    with pytest.raises(AssertionError, match="not idle"):
        world.run(limit=DRAIN_LIMIT + 300)
    (name, cycle), = world.pulses
    assert name == "error" and DRAIN_LIMIT < cycle < DRAIN_LIMIT + 60
