# SPDX-License-Identifier: Apache-2.0
"""A run lifecycle between a memory, units that take their time, and a host that interrupts."""

from collections import deque

import numpy as np

from moevit.hw.control.run_lifecycle import RunLifecycle
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
