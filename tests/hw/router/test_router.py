# SPDX-License-Identifier: Apache-2.0
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.golden.integer.router import queues, route
from moevit.hw.interfaces import logits_layout
from moevit.hw.router.router import Router
from moevit.spec.arrays import CONFIGS
from moevit.spec.trace import TraceKind

LOW, HIGH = -(1 << 23), (1 << 23) - 1
LIMIT = 20_000


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
    def fields(self):
        return {"experts": self.logits.shape[1], "top_k": self.top_k, "renormalise": int(self.renormalise),
                "sigmoid": int(self.sigmoid), "biased": int(self.bias is not None), "sets_bias": int(self.sets_bias)}


def with_biases(passes):
    """Each pass that has biases behind one that sets them."""
    for job in passes:
        if job.bias is not None:
            yield Pass(job.bias[None] << 8, 1, sets_bias=True)
        yield job


@dataclass
class Seen:
    taken: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    trace: list = field(default_factory=list)


def run(config, passes, gap=0.0, seed=0):
    """Routes the passes; after each one's ``done`` compares all queues, read through the port, with the golden ones."""
    unit, seen, random = Router(config), Seen(), np.random.default_rng(seed)
    passes = list(with_biases(passes))

    def check(job, entries, lengths):
        experts = job.logits.shape[1]
        wanted = queues(job.routing, experts)
        assert lengths == [len(queue.tokens) for queue in wanted] + [0] * (config.max_experts - experts)
        for found, queue in zip(entries, wanted, strict=False):
            assert found == list(zip(queue.tokens, queue.scores, strict=True))

    async def bench(ctx):
        cycle, offered = 0, False
        for sequence, job in enumerate(passes):
            tokens = deque(enumerate(job.logits))
            done = False
            while not done:
                assert cycle < LIMIT, f"hung with {len(tokens)} tokens to go"
                if not offered and tokens and random.random() >= gap:
                    index, row = tokens[0]
                    padding = random.integers(LOW, HIGH, config.max_experts - len(row))
                    ctx.set(unit.logits.payload, logits_layout(config).const({
                        "logits": [int(logit) for logit in (*row, *padding)], "first": int(index == 0),
                        "last": int(index == len(job.logits) - 1), **job.fields}))
                    ctx.set(unit.sequence, sequence)
                    offered = True
                ctx.set(unit.logits.valid, offered)
                if offered and ctx.get(unit.logits.ready):
                    tokens.popleft()
                    offered = False
                    seen.taken.append(cycle)
                done = ctx.get(unit.done)
                record(ctx, cycle)
                await ctx.tick()
                cycle += 1
            # From the cycle after done on: lengths, and any entry.
            ctx.set(unit.logits.valid, 0)
            lengths = list(ctx.get(unit.lengths))
            entries = []
            ctx.set(unit.queue.enable, 1)
            for expert, length in enumerate(lengths):
                entries.append([])
                for index in range(length):
                    ctx.set(unit.queue.address, expert * config.max_tokens + index)
                    record(ctx, cycle)
                    await ctx.tick()
                    cycle += 1
                    entry = ctx.get(unit.queue.data)
                    entries[-1].append((entry["token"], entry["score"]))
            if not job.sets_bias:
                check(job, entries, lengths)
        for _ in range(config.max_experts + 1):
            record(ctx, cycle)
            await ctx.tick()

    def record(ctx, cycle):
        if ctx.get(unit.trace.valid):
            trace = ctx.get(unit.trace.payload)
            seen.trace.append((trace["kind"], trace["sequence"], trace["address"], list(trace["data"])[:3]))
            if trace["kind"] == TraceKind.ROUTE:
                seen.stored.append(cycle)

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen.trace == [record for sequence, job in enumerate(passes) if not job.sets_bias
                          for record in records(job, sequence)]
    seen.unit = unit
    return seen


def records(job, sequence):
    routing = job.routing
    for token, (experts, scores) in enumerate(zip(routing.experts, routing.scores, strict=True)):
        for rank, (expert, score) in enumerate(zip(experts, scores, strict=True)):
            low = int(score) & 0xFFFF
            yield TraceKind.ROUTE, sequence, token * 32 + rank, [int(expert), low - ((low & 0x8000) << 1), int(score) >> 16]
    for expert, queue in enumerate(queues(routing, job.logits.shape[1])):
        yield TraceKind.QUEUE, sequence, expert, [len(queue.tokens), 0, 0]


def logits_of(random, tokens, experts, spread=20):
    """Logits with a spread of up to 2^spread around random centres."""
    logits = random.integers(LOW >> 1, HIGH >> 1, (tokens, 1)) + random.integers(
        -(1 << spread), 1 << spread, (tokens, experts))
    return np.clip(logits, LOW, HIGH)


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("experts", [1, 5, 8, 16, 32])
def test_every_top_k(experts, renormalise):
    random = np.random.default_rng(experts)
    config = config_of(experts)
    run(config, [Pass(logits_of(random, 12, experts, 19), top_k, renormalise)
                 for top_k in {1, 2, 4, experts - 1, experts} if 1 <= top_k <= experts])


@pytest.mark.parametrize("renormalise", [False, True])
def test_fewer_experts_than_the_router_has(renormalise):
    random = np.random.default_rng(1)
    run(config_of(8), [Pass(logits_of(random, 10, experts), min(experts, 2), renormalise) for experts in (1, 2, 3, 7)])


@pytest.mark.parametrize("renormalise", [False, True])
def test_ties_and_masks(renormalise):
    random = np.random.default_rng(2)
    ties = random.integers(-2, 3, (32, 8)) << 12
    masked = logits_of(random, 20, 8)
    masked[:, [0, 3, 4]] = LOW
    all_masked = np.full((3, 8), LOW)
    extremes = random.choice([LOW, HIGH, LOW + 1, HIGH - 1, 0], (32, 8))
    run(config_of(8), [Pass(logits, top_k, renormalise) for logits in (ties, masked, all_masked, extremes)
                       for top_k in (2, 6)])


def test_masked_lanes_beyond_the_experts_lose_ties():
    """What is no expert has random logits in its lanes."""
    run(config_of(8), [Pass(np.full((4, 5), LOW), 5), Pass(np.full((4, 5), LOW), 2, True)])


def test_all_tokens_to_one_expert():
    logits = np.zeros((32, 8), np.int64)
    logits[:, 6] = 100_000
    run(config_of(8), [Pass(logits, 1), Pass(logits, 2, True)])


def test_one_token():
    random = np.random.default_rng(3)
    run(config_of(8), [Pass(logits_of(random, 1, 8), top_k) for top_k in (1, 2, 8)])


def biases_of(random, experts, spread=15):
    return random.integers(-(1 << spread), 1 << spread, experts)


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("sigmoid, biased", [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("experts", [1, 5, 8, 16, 32])
def test_sigmoid_and_bias(experts, sigmoid, biased, renormalise):
    """Logits around 0, where sigmoids differ; then far apart, then biases that outweigh everything."""
    random = np.random.default_rng(experts)
    logits = [random.integers(-(1 << spread), 1 << spread, (8, experts)) for spread in (17, 19, 23)]
    run(config_of(experts), [
        Pass(each, top_k, renormalise, sigmoid, biases_of(random, experts, spread) if biased else None)
        for each, spread in zip(logits, (12, 14, 15), strict=True) for top_k in {1, min(2, experts), experts}])


@pytest.mark.parametrize("sigmoid", [False, True])
def test_a_bias_lifts_no_masked_expert(sigmoid):
    random = np.random.default_rng(7)
    masked = logits_of(random, 20, 6)
    masked[:, [0, 3]] = LOW
    biases = [np.array([32767, -32768, 0, 32767, -32768, 5]), np.full(6, 32767), np.full(6, -32768)]
    run(config_of(8), [Pass(masked, top_k, renormalise, sigmoid, bias) for bias in biases
                       for top_k, renormalise in ((4, False), (4, True), (6, True))])


def test_biases_stay_until_they_are_set_anew():
    random = np.random.default_rng(8)
    config, bias = config_of(8), biases_of(random, 8)
    unit, jobs = Router(config), [Pass(bias[None] << 8, 1, sets_bias=True)]
    jobs += [Pass(logits_of(random, 3, 8), 2, sigmoid=sigmoid, bias=used)
             for used in (bias, None, bias) for sigmoid in (True, False)]
    found = []

    async def bench(ctx):
        for job in jobs:
            for index, row in enumerate(job.logits):
                ctx.set(unit.logits.valid, 1)
                ctx.set(unit.logits.payload, logits_layout(config).const({
                    "logits": row.tolist(), "first": int(index == 0), "last": int(index == len(job.logits) - 1),
                    **job.fields}))
                while not ctx.get(unit.logits.ready):
                    await ctx.tick()
                await ctx.tick()
            ctx.set(unit.logits.valid, 0)
            while not ctx.get(unit.done):
                await ctx.tick()
            await ctx.tick()
            found.append(list(ctx.get(unit.lengths)))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for lengths, job in zip(found[1:], jobs[1:], strict=True):
        assert lengths == [len(queue.tokens) for queue in queues(job.routing, 8)]


@pytest.mark.parametrize("experts", [8, 32])
def test_cycles_of_a_walk(experts):
    """A token is taken every WALK + 1 cycles; its first entry comes WALK cycles later than otherwise."""
    random = np.random.default_rng(4)
    seen = run(config_of(experts), [Pass(logits_of(random, 4, experts), 2, sigmoid=True)])
    walk = seen.unit.WALK
    assert walk == experts + 8
    assert seen.taken == [seen.taken[0] + (walk + 1) * token for token in range(4)]
    assert seen.stored[0] - seen.taken[0] == seen.unit.LATENCY + walk


@pytest.mark.parametrize("seed", range(4))
def test_random(seed):
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    passes = []
    for _ in range(4):
        experts, tokens = random.integers(1, 9), random.integers(1, 33)
        passes.append(Pass(logits_of(random, tokens, experts, random.integers(8, 23)),
                           int(random.integers(1, experts + 1)), bool(random.integers(0, 2)),
                           bool(random.integers(0, 2)), biases_of(random, experts) if random.random() < 0.5 else None))
    run(config_of(8), passes, [0.0, 0.2, 0.5, 0.9][seed], seed)


@pytest.mark.parametrize("experts", [8, 32])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_rate_and_latency(experts, top_k):
    """One entry per cycle from the first to the last."""
    random = np.random.default_rng(4)
    seen = run(config_of(experts), [Pass(logits_of(random, 32, experts), top_k)])
    assert seen.taken == [seen.taken[0] + top_k * token for token in range(32)]
    assert seen.stored[0] - seen.taken[0] == seen.unit.LATENCY
    assert seen.stored == list(range(seen.stored[0], seen.stored[0] + 32 * top_k))


def test_next_pass_right_behind():
    """The first token of a pass may be waiting while the pass before it is routed: both are complete, in order."""
    random = np.random.default_rng(5)
    config = config_of(8)
    first, second = Pass(logits_of(random, 6, 8), 2), Pass(logits_of(random, 4, 8), 4)
    unit, dones, cycle = Router(config), [], 0

    async def bench(ctx):
        nonlocal cycle
        for job in (first, second):
            for index, row in enumerate(job.logits):
                ctx.set(unit.logits.valid, 1)
                ctx.set(unit.logits.payload, logits_layout(config).const({
                    "logits": [int(logit) for logit in row], "first": int(index == 0),
                    "last": int(index == len(job.logits) - 1), **job.fields}))
                while True:
                    ready = ctx.get(unit.logits.ready)
                    await step(ctx)
                    if ready:
                        break
        ctx.set(unit.logits.valid, 0)
        while len(dones) < 2:
            await step(ctx)

    async def step(ctx):
        nonlocal cycle
        if ctx.get(unit.done):
            dones.append(cycle)
        elif dones and dones[-1] == cycle - 1:
            job = (first, second)[len(dones) - 1]
            wanted = queues(route(job.logits, job.top_k, False), 8)
            assert list(ctx.get(unit.lengths)) == [len(queue.tokens) for queue in wanted]
        await ctx.tick()
        cycle += 1
        assert cycle < LIMIT

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(dones) == 2
