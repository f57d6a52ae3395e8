# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.interfaces import Accumulate
from moevit.hw.reader.fetch import Fetch
from moevit.hw.reader.sequence import Kind
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Operand, Source

SEED = 48
ROW = 4  # cycles from a step to its row
COPY_BASE = 30


@pytest.mark.parametrize("copy", [0, 1])
def test_random_steps(clocked, copy):
    print(f"seed {SEED}")
    config, random = CONFIGS["8x8"], np.random.default_rng(SEED)
    unit, lanes = Fetch(config), config.k_lanes
    memory = {
        "residual": random.integers(-32768, 32768, (config.residual_words, lanes)),
        "hidden": random.integers(-32768, 32768, (config.hidden_words, lanes)),
        "gain": random.integers(-32768, 32768, (256, lanes)),
        "queue": np.stack([random.integers(0, 32, 256), random.integers(0, 65537, 256)], axis=1),
        "peaks": random.integers(-65536, 65536, 128),
        "mean": random.integers(-65536, 65536, 32),
    }
    ports = {name: getattr(unit, name) for name in memory}
    steps = []
    for _ in range(300):
        if random.integers(3) == 0:
            steps.append(None)
            continue
        steps.append({
            "kind": Kind(int(random.integers(4))), "row": int(random.integers(32)), "word": int(random.integers(6)),
            "operand": int(random.integers(4)), "source": int(random.integers(2)), "lookup": 1,
            "gather": int(random.integers(2)), "scatter": int(random.integers(2)), "expert": int(random.integers(8)),
            "source_base": int(random.integers(50)), "source_stride": int(random.integers(6)),
            "source_peak": int(random.integers(90)), "keys": int(random.integers(1, 49)),
            "operation": Accumulate(int(random.integers(3))),
            **{flag: int(random.integers(2)) for flag in ("low", "first", "final", "end", "swap")},
        })

    def source(step):
        token, score = memory["queue"][step["expert"] * 32 + step["row"]]
        return (token if step["gather"] else step["row"], token if step["scatter"] else step["row"], score)

    def check_row(ctx, step):
        row, (read, written, score) = ctx.get(unit.row.payload), source(step)
        assert (row.source, row.row, row.score) == (read, written, score)
        assert row.peak == memory["peaks"][step["source_peak"] + read]
        assert (Kind(row.kind), row.operand, row.final) == (step["kind"], step["operand"], step["final"])

    def check_word(ctx, step):
        word, (read, _, _) = ctx.get(unit.word.payload), source(step)
        offset = read * step["source_stride"] + step["word"]
        stored = memory["hidden" if step["source"] == Source.HIDDEN else "residual"][step["source_base"] + offset]
        assert list(word.data) == stored.tolist()
        assert list(word.gain) == memory["gain"][step["word"]].tolist()
        centred = step["kind"] == Kind.PEAKS or (step["kind"] == Kind.PASS and step["operand"] == Operand.NORM)
        assert word.mean == (memory["mean"][read] if centred else 0)
        valid = np.clip(step["keys"] - 8 * step["word"], 0, 8)
        assert word.keys == (1 << valid) - 1
        assert Kind(word.kind) == step["kind"]
        assert Accumulate(word.operation) == step["operation"]
        for field in ("operand", "low", "row", "first", "final", "end", "swap"):
            assert word[field] == step[field]
        copies = copy and step["kind"] == Kind.PEAKS
        assert ctx.get(unit.written.enable) == copies
        if copies:
            assert ctx.get(unit.written.address) == COPY_BASE + offset
            assert list(ctx.get(unit.written.data)) == stored.tolist()

    answers = []

    def step(ctx, cycle):
        for name, value in answers:
            ctx.set(ports[name].data, value)
        here = steps[cycle] if cycle < len(steps) else None
        ctx.set(unit.copy, copy)
        ctx.set(unit.copy_base, COPY_BASE)
        ctx.set(unit.step.valid, here is not None)
        if here:
            ctx.set(unit.step.payload, here)
        answers.clear()
        for name, port in ports.items():
            if ctx.get(port.enable):
                value = memory[name][ctx.get(port.address)].tolist()
                answers.append((name, {"token": value[0], "score": value[1]} if name == "queue" else value))
        for delay, flow, check in ((ROW, unit.row, check_row), (Fetch.LATENCY, unit.word, check_word)):
            earlier = steps[cycle - delay] if 0 <= cycle - delay < len(steps) else None
            assert ctx.get(flow.valid) == (earlier is not None)
            if earlier:
                check(ctx, earlier)
        recent = [steps[at] for at in range(cycle - 5, cycle) if 0 <= at < len(steps)]
        assert ctx.get(unit.busy) == any(recent)

    clocked(unit, len(steps) + Fetch.LATENCY + 2, step)


def test_queue_is_read_only_for_a_lookup(clocked):
    unit = Fetch(CONFIGS["8x8"])

    def step(ctx, cycle):
        ctx.set(unit.step.valid, 1)
        ctx.set(unit.step.payload, {"lookup": cycle % 2})
        assert ctx.get(unit.queue.enable) == cycle % 2

    clocked(unit, 4, step)
