# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.layouts import Accumulate
from moevit.hw.reader.access import ReadPurpose
from moevit.hw.reader.fetch import Fetch
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import MemoryModel
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Operand, RowSource

from ...configs import TEST_CONFIGS

SEED = 48
COPY_BASE = 31
COUNT = 300


def random_access(random, words):
    """A random access where a NORM takes up to ``words`` words, or None for an idle cycle."""
    if random.integers(3) == 0:
        return None
    following = int(random.integers(words)) if random.integers(3) else 0
    word = int(random.integers(6))
    if following:
        word -= word % words
    return {
        "purpose": ReadPurpose.PEAKS if following else ReadPurpose(int(random.integers(4))),
        "following_mask": (1 << following) - 1, "row": int(random.integers(32)), "word": word,
        "gain_address": word // words, "gain_offset": word % words, "operand": int(random.integers(4)),
        "source": 0 if following else int(random.integers(2)), "queue_lookup": 1,
        "gather": int(random.integers(2)), "scatter": int(random.integers(2)), "expert": int(random.integers(8)),
        "source_base": int(random.integers(50)), "source_stride": int(random.integers(6)),
        "source_peak": int(random.integers(90)), "keys": int(random.integers(1, 49)),
        "operation": Accumulate(int(random.integers(3))),
        **{flag: int(random.integers(2)) for flag in ("low_digit", "first", "final", "end", "swap")},
    }


class Bench:
    """Random accesses to random memories, every output checked in the cycle in which it is due."""

    def __init__(self, name, copy):
        print(f"seed {SEED}")
        self.config = config = TEST_CONFIGS[name]
        self.unit, self.copy, random = Fetch(config), copy, np.random.default_rng(SEED)
        lanes, words = config.k_lanes, config.norm_words
        self.hidden, self.residual = (random.integers(-32768, 32768, (depth, lanes))
                                      for depth in (config.hidden_words, config.residual_words))
        self.gain = random.integers(-32768, 32768, (-(-256 // words), words, lanes))
        self.queue = [{"token": int(random.integers(32)), "score": int(random.integers(65537))} for _ in range(256)]
        self.peaks, self.means = random.integers(-65536, 65536, 128), random.integers(-65536, 65536, 32)
        self.accesses = [random_access(random, words) for _ in range(COUNT)]

    def run(self):
        unit, banks = self.unit, self.config.residual_banks
        memories = [(self.hidden, unit.hidden), (self.gain, unit.gain), (self.queue, unit.queue),
                    (self.peaks, unit.peaks), (self.means, unit.mean),
                    *((self.residual[bank::banks], port) for bank, port in enumerate(unit.residual))]
        StreamBench(unit, settings={"copy": self.copy, "copy_base": COPY_BASE},
                    background=[MemoryModel(words, reads=[port]).run for words, port in memories]).play(
            self.step, COUNT + unit.latency + 2)

    def at(self, cycle):
        return self.accesses[cycle] if 0 <= cycle < COUNT else None

    def step(self, ctx, cycle):
        unit, access = self.unit, self.at(cycle)
        ctx.set(unit.access.valid, access is not None)
        if access:
            ctx.set(unit.access.payload, access)
        for delay, flow, check in ((unit.latency_row, unit.row, self.check_row), (unit.latency, unit.word, self.check)):
            due = self.at(cycle - delay)
            assert ctx.get(flow.valid) == (due is not None)
            if due:
                check(ctx, due)
        assert ctx.get(unit.busy) == any(self.at(earlier) for earlier in range(cycle - unit.latency + 1, cycle))

    def rows(self, access):
        """Source row, destination row and score of an access."""
        entry = self.queue[access["expert"] * 32 + access["row"]]
        return (*(entry["token"] if access[field] else access["row"] for field in ("gather", "scatter")),
                entry["score"])

    def check_row(self, ctx, access):
        row, rows = ctx.get(self.unit.row.payload), self.rows(access)
        assert (row.source_row, row.destination_row, row.score) == rows
        assert row.peak == self.peaks[access["source_peak"] + rows[0]]
        assert (ReadPurpose(row.purpose), row.operand, row.final) == tuple(
            access[field] for field in ("purpose", "operand", "final"))

    def check(self, ctx, access):
        word, (source_row, _, _) = ctx.get(self.unit.word.payload), self.rows(access)
        offset = source_row * access["source_stride"] + access["word"]
        memory = self.hidden if access["source"] == RowSource.HIDDEN else self.residual
        gains, start = self.gain.reshape(-1, self.config.k_lanes), access["source_base"] + offset
        read = [index == 0 or access["following_mask"] >> (index - 1) & 1 for index in range(len(word.words))]
        for index, (slot, is_read) in enumerate(zip(word.words, read, strict=True)):
            assert list(slot.data) == (memory[start + index].tolist() if is_read else 8 * [0])
            assert list(slot.gain) == (gains[access["word"] + index].tolist() if is_read else 8 * [0])
        purpose = access["purpose"]
        centred = purpose == ReadPurpose.PEAKS or (purpose, access["operand"]) == (ReadPurpose.PASS, Operand.NORM)
        assert word.mean == (self.means[source_row] if centred else 0)
        assert word.key_mask == (1 << int(np.clip(access["keys"] - 8 * access["word"], 0, 8))) - 1
        assert (ReadPurpose(word.purpose), Accumulate(word.operation)) == (purpose, access["operation"])
        for field in ("operand", "low_digit", "row", "first", "final", "end", "swap"):
            assert word[field] == access[field]
        copied = {COPY_BASE + offset + index: memory[start + index].tolist() for index, is_read in enumerate(read)
                  if is_read and self.copy and purpose == ReadPurpose.PEAKS}
        banks = self.config.residual_banks
        assert copied == {ctx.get(port.address) * banks + bank: list(ctx.get(port.data))
                          for bank, port in enumerate(self.unit.copied) if ctx.get(port.enable)}


@pytest.mark.parametrize("name", ["8x8", "8x16_pairs", "8x16"])
@pytest.mark.parametrize("copy", [0, 1])
def test_random_accesses(name, copy):
    Bench(name, copy).run()


def test_queue_is_read_only_for_a_lookup():
    unit = Fetch(CONFIGS["8x8"])

    def step(ctx, cycle):
        ctx.set(unit.access.valid, 1)
        ctx.set(unit.access.payload, {"queue_lookup": cycle % 2})
        assert ctx.get(unit.queue.enable) == cycle % 2

    StreamBench(unit).play(step, 4)
