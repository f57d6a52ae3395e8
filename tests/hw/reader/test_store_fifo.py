# SPDX-License-Identifier: Apache-2.0
from collections import deque

import numpy as np
import pytest

from moevit.hw.reader.store_fifo import StoreFifo
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

SEED = 41
PIPELINE = 6


@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_words_of_a_pipeline_that_cannot_wait(stall):
    print(f"seed {SEED}")
    random, unit = np.random.default_rng(SEED), StoreFifo(CONFIGS["8x8"])
    words = random.integers(-32768, 32768, (40, 8)).tolist()
    source, pipeline, seen, cycles = deque(words), deque([None] * PIPELINE), [], []

    def step(ctx, cycle):
        word = pipeline.popleft()
        ctx.set(unit.word.valid, word is not None)
        ctx.set(unit.word.payload, word or [0] * 8)
        start = bool(source) and bool(ctx.get(unit.room))
        ctx.set(unit.started, start)
        pipeline.append(source.popleft() if start else None)
        ctx.set(unit.o.ready, bool(random.random() >= stall))
        if ctx.get(unit.o.valid) and ctx.get(unit.o.ready):
            seen.append(list(ctx.get(unit.o.payload)))
            cycles.append(cycle)

    StreamBench(unit).play(step, 600)
    assert seen == words
    if not stall:
        assert cycles == list(range(PIPELINE + unit.latency, PIPELINE + unit.latency + len(words)))
