# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.layouts import gain_words
from moevit.hw.reader.gain import Gain
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

from ...configs import TEST_CONFIGS

SEED = 40


@pytest.mark.parametrize("name", ["8x8", "8x16_pairs", "8x16"])
@pytest.mark.parametrize("words", [1, 5, 9])
def test_load_and_read(name, words):
    print(f"seed {SEED}")
    config, random = TEST_CONFIGS[name], np.random.default_rng(SEED)
    unit, rounds = Gain(config), random.integers(-32768, 32768, (2, words, config.k_lanes))
    loads = [[int.from_bytes(beat.tobytes(), "little")
              for beat in gain.astype("<i2").view(np.uint8).reshape(-1, config.n_lanes)] for gain in rounds]
    beats, loaded, seen = loads[0] + loads[1], [], []

    def step(ctx, cycle):
        loading = cycle < 200 and bool(random.integers(2))
        offered = bool(beats) and bool(random.integers(2))
        ctx.set(unit.load, loading and len(loaded) < 2)
        ctx.set(unit.last_word, words - 1)
        ctx.set(unit.beats.valid, offered)
        ctx.set(unit.beats.payload, beats[0] if beats else 0)
        if ctx.get(unit.loaded):
            loaded.append(len(beats))
        if ctx.get(unit.beats.ready) and offered:
            beats.pop(0)
        if cycle >= 200 + unit.latency:
            seen.extend(list(word) for word in ctx.get(unit.read.data))
        ctx.set(unit.read.enable, 1)
        ctx.set(unit.read.address, max(cycle - 200, 0))

    StreamBench(unit).play(step, 200 + unit.latency + -(-words // config.norm_words))
    assert loaded == [len(loads[1]) + 1, 1]
    assert seen[:words] == rounds[1].tolist()


def test_room_for_the_longest_row():
    assert [gain_words(CONFIGS[name]) * CONFIGS[name].k_lanes for name in CONFIGS] == [2048] * len(CONFIGS)
