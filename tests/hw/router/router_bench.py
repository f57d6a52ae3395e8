# SPDX-License-Identifier: Apache-2.0
"""Passes through the router, compared with the golden one."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from moevit.golden.integer.router import queues, route
from moevit.hw.router.router import Router
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import Probe
from moevit.spec.arrays import CONFIGS
from moevit.spec.trace import TraceKind

LOW, HIGH = -(1 << 23), (1 << 23) - 1
LIMIT = 20_000  # cycles after which a test has hung


def config_of(experts, max_tokens=32):
    lanes = max(8, 1 << (experts - 1).bit_length())
    return replace(CONFIGS["8x8"], k_lanes=lanes, n_lanes=lanes, max_experts=experts, max_tokens=max_tokens, trace=True)


@dataclass
class Pass:
    logits: np.ndarray
    top_k: int
    renormalise: bool = False
    sigmoid: bool = False
    bias: np.ndarray | None = None
    sets_bias: bool = False

    @property
    def routing(self):
        return route(self.logits, self.top_k, self.renormalise, with_sigmoid=self.sigmoid, bias=self.bias)

    @property
    def lengths(self):
        return [len(queue.tokens) for queue in queues(self.routing, self.logits.shape[1])]

    def token(self, index, padding=()):
        """Payload of a token; ``padding``: logits of lanes that are no experts."""
        return {"logits": [int(logit) for logit in (*self.logits[index], *padding)], "first": int(index == 0),
                "last": int(index == len(self.logits) - 1), "experts": self.logits.shape[1], "top_k": self.top_k,
                "renormalise": int(self.renormalise), "sigmoid": int(self.sigmoid),
                "biased": int(self.bias is not None), "sets_bias": int(self.sets_bias)}

    def records(self, sequence):
        """What the trace says of it."""
        routing = self.routing
        for token, (experts, scores) in enumerate(zip(routing.experts, routing.scores, strict=True)):
            for rank, (expert, score) in enumerate(zip(experts, scores, strict=True)):
                low = int(score) & 0xFFFF
                yield (TraceKind.ROUTE, sequence, token * 32 + rank,
                       [int(expert), low - ((low & 0x8000) << 1), int(score) >> 16])
        for expert, length in enumerate(self.lengths):
            yield TraceKind.QUEUE, sequence, expert, [length, 0, 0]


def biases_set(bias):
    return Pass(bias[None] << 8, 1, sets_bias=True)


def with_biases(passes):
    """Each pass that has biases behind one that sets them."""
    for job in passes:
        if job.bias is not None:
            yield biases_set(job.bias)
        yield job


def logits_of(random, tokens, experts, spread=20):
    """Logits with a spread of up to 2^spread around random centres."""
    logits = random.integers(LOW >> 1, HIGH >> 1, (tokens, 1)) + random.integers(
        -(1 << spread), 1 << spread, (tokens, experts))
    return np.clip(logits, LOW, HIGH)


def biases_of(random, experts, spread=15):
    return random.integers(-(1 << spread), 1 << spread, experts)


@dataclass
class Seen:
    """Cycles in which tokens were taken and entries stored; the trace: (kind, sequence, address, data)."""

    unit: Router
    taken: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    trace: list = field(default_factory=list)


def check(config, job, entries, lengths):
    assert lengths == job.lengths + [0] * (config.max_experts - len(job.lengths))
    for found, queue in zip(entries, queues(job.routing, len(job.lengths)), strict=False):
        assert found == list(zip(queue.tokens, queue.scores, strict=True))


def run(config, passes, gap=0.0, seed=0):
    """Routes the passes; after each one's ``done`` compares all queues, read through the port, with the golden ones."""
    unit, random = Router(config), np.random.default_rng(seed)
    passes, trace = list(with_biases(passes)), Probe(unit.trace.payload, when=unit.trace.valid)
    seen, cycle = Seen(unit), 0

    async def tick(ctx):
        nonlocal cycle
        assert cycle < LIMIT, "hung"
        await ctx.tick()
        cycle += 1

    async def send(ctx, sequence, job):
        tokens, offered, done = deque(range(len(job.logits))), False, False
        while not done:
            if not offered and tokens and random.random() >= gap:
                padding = random.integers(LOW, HIGH, config.max_experts - job.logits.shape[1])
                ctx.set(unit.logits.payload, job.token(tokens[0], padding))
                ctx.set(unit.sequence, sequence)
                offered = True
            ctx.set(unit.logits.valid, offered)
            if offered and ctx.get(unit.logits.ready):
                tokens.popleft()
                offered = False
                seen.taken.append(cycle)
            done = ctx.get(unit.done)
            await tick(ctx)
        ctx.set(unit.logits.valid, 0)

    async def read(ctx, lengths):
        entries = [[] for _ in lengths]
        ctx.set(unit.queue.enable, 1)
        for expert, length in enumerate(lengths):
            for index in range(length):
                ctx.set(unit.queue.address, expert * config.max_tokens + index)
                await tick(ctx)
                entry = ctx.get(unit.queue.data)
                entries[expert].append((entry["token"], entry["score"]))
        return entries

    async def testbench(ctx):
        for sequence, job in enumerate(passes):
            await send(ctx, sequence, job)
            lengths = list(ctx.get(unit.lengths))  # complete from the cycle after ``done`` on
            entries = await read(ctx, lengths)
            if not job.sets_bias:
                check(config, job, entries, lengths)
        for _ in range(config.max_experts + 1):
            await tick(ctx)

    StreamBench(unit, background=[trace.run]).simulate(testbench)
    seen.trace = [(record["kind"], record["sequence"], record["address"], record["data"][:3])
                  for record in trace.values]
    seen.stored = [at for at, record in zip(trace.cycles, trace.values, strict=True)
                   if record["kind"] == TraceKind.ROUTE]
    assert seen.trace == [record for sequence, job in enumerate(passes) if not job.sets_bias
                          for record in job.records(sequence)]
    return seen


def at_once(config, passes):
    """Sends the passes without a pause; lengths in the cycle after each ``done``, cycles of tokens, of ``done``."""
    unit = Router(config)
    probe = Probe(unit.done, unit.lengths)
    tokens = [job.token(index) for job in passes for index in range(len(job.logits))]
    bench = StreamBench(unit, background=[probe.run], settle=100)
    bench.run({"logits": tokens}, {})
    dones = [cycle for cycle, (done, _) in enumerate(probe.values) if done]
    return [probe.values[cycle + 1][1] for cycle in dones], bench.cycles["logits"], dones
