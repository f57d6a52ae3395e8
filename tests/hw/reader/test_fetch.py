# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.interfaces import Accumulate
from moevit.hw.reader.access import ReadPurpose
from moevit.hw.reader.fetch import Fetch
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Operand, RowSource

from ...configs import TEST_CONFIGS

SEED = 48
COPY_BASE = 31


@pytest.mark.parametrize("name", ["8x8", "8x16_pairs", "8x16"])
@pytest.mark.parametrize("copy", [0, 1])
def test_random_steps(clocked, name, copy):
    print(f"seed {SEED}")
    config, random = TEST_CONFIGS[name], np.random.default_rng(SEED)
    unit, lanes, banks, words = Fetch(config), config.k_lanes, config.residual_banks, config.norm_words
    memory = {
        "hidden": random.integers(-32768, 32768, (config.hidden_words, lanes)),
        "gain": random.integers(-32768, 32768, (-(-256 // words), words, lanes)),
        "queue": np.stack([random.integers(0, 32, 256), random.integers(0, 65537, 256)], axis=1),
        "peaks": random.integers(-65536, 65536, 128),
        "mean": random.integers(-65536, 65536, 32),
    }
    ports = {key: getattr(unit, key) for key in memory}
    residual = random.integers(-32768, 32768, (config.residual_words, lanes))
    for bank in range(banks):
        memory[bank], ports[bank] = residual[bank::banks], unit.residual[bank]
    gains = memory["gain"].reshape(-1, lanes)
    steps = []
    for _ in range(300):
        if random.integers(3) == 0:
            steps.append(None)
            continue
        more = int(random.integers(words)) if random.integers(3) else 0
        word = int(random.integers(6)) // (words if more else 1) * (words if more else 1)
        steps.append({
            "purpose": ReadPurpose.PEAKS if more else ReadPurpose(int(random.integers(4))), "following_mask": (1 << more) - 1,
            "row": int(random.integers(32)), "word": word, "gain_address": word // words, "gain_offset": word % words,
            "operand": int(random.integers(4)), "source": 0 if more else int(random.integers(2)), "queue_lookup": 1,
            "gather": int(random.integers(2)), "scatter": int(random.integers(2)), "expert": int(random.integers(8)),
            "source_base": int(random.integers(50)), "source_stride": int(random.integers(6)),
            "source_peak": int(random.integers(90)), "keys": int(random.integers(1, 49)),
            "operation": Accumulate(int(random.integers(3))),
            **{flag: int(random.integers(2)) for flag in ("low_digit", "first", "final", "end", "swap")},
        })

    def source(step):
        token, score = memory["queue"][step["expert"] * 32 + step["row"]]
        return (token if step["gather"] else step["row"], token if step["scatter"] else step["row"], score)

    def check_row(ctx, step):
        row, (read, written, score) = ctx.get(unit.row.payload), source(step)
        assert (row.source_row, row.destination_row, row.score) == (read, written, score)
        assert row.peak == memory["peaks"][step["source_peak"] + read]
        assert (ReadPurpose(row.purpose), row.operand, row.final) == (step["purpose"], step["operand"], step["final"])

    def check_word(ctx, step):
        word, (read, _, _) = ctx.get(unit.word.payload), source(step)
        offset = read * step["source_stride"] + step["word"]
        at = step["source_base"] + offset
        stored = memory["hidden"][at] if step["source"] == RowSource.HIDDEN else residual[at]
        first, *behind = word.words
        assert list(first.data) == stored.tolist()
        assert list(first.gain) == gains[step["word"]].tolist()
        for index, each in enumerate(behind, 1):
            there = step["following_mask"] >> (index - 1) & 1
            assert list(each.data) == (residual[at + index] * there).tolist()
            assert list(each.gain) == (gains[step["word"] + index] * there).tolist()
        centred = step["purpose"] == ReadPurpose.PEAKS or (step["purpose"] == ReadPurpose.PASS and step["operand"] == Operand.NORM)
        assert word.mean == (memory["mean"][read] if centred else 0)
        valid = np.clip(step["keys"] - 8 * step["word"], 0, 8)
        assert word.key_mask == (1 << valid) - 1
        assert ReadPurpose(word.purpose) == step["purpose"]
        assert Accumulate(word.operation) == step["operation"]
        for field in ("operand", "low_digit", "row", "first", "final", "end", "swap"):
            assert word[field] == step[field]
        copied = {}
        if copy and step["purpose"] == ReadPurpose.PEAKS:
            copied = {COPY_BASE + offset + index: residual[at + index].tolist()
                      for index in range(1, 1 + step["following_mask"].bit_count())} | {COPY_BASE + offset: stored.tolist()}
        assert copied == {ctx.get(port.address) * banks + bank: list(ctx.get(port.data))
                          for bank, port in enumerate(unit.copied) if ctx.get(port.enable)}

    answers = []

    def step(ctx, cycle):
        for port, value in answers:
            ctx.set(ports[port].data, value)
        here = steps[cycle] if cycle < len(steps) else None
        ctx.set(unit.copy, copy)
        ctx.set(unit.copy_base, COPY_BASE)
        ctx.set(unit.access.valid, here is not None)
        if here:
            ctx.set(unit.access.payload, here)
        answers.clear()
        for key, port in ports.items():
            if ctx.get(port.enable):
                value = memory[key][ctx.get(port.address)].tolist()
                answers.append((key, {"token": value[0], "score": value[1]} if key == "queue" else value))
        for delay, flow, check in ((Fetch.latency_row, unit.row, check_row), (Fetch.latency, unit.word, check_word)):
            earlier = steps[cycle - delay] if 0 <= cycle - delay < len(steps) else None
            assert ctx.get(flow.valid) == (earlier is not None)
            if earlier:
                check(ctx, earlier)
        recent = [steps[at] for at in range(cycle - 5, cycle) if 0 <= at < len(steps)]
        assert ctx.get(unit.busy) == any(recent)

    clocked(unit, len(steps) + Fetch.latency + 2, step)


def test_queue_is_read_only_for_a_lookup(clocked):
    unit = Fetch(CONFIGS["8x8"])

    def step(ctx, cycle):
        ctx.set(unit.access.valid, 1)
        ctx.set(unit.access.payload, {"queue_lookup": cycle % 2})
        assert ctx.get(unit.queue.enable) == cycle % 2

    clocked(unit, 4, step)
