# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.writer.peaks import PeakTable
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Peak


@pytest.mark.parametrize("name", ["8x8", "32x32"])
def test_few_entries_in_any_order(name):
    """Three entries, so that the same one often comes again in the next cycles. Each write is checked."""
    config, seed = CONFIGS[name], 3
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    unit, count = PeakTable(config), 300
    words = random.integers(-32768, 32768, (count, config.k_lanes)) >> random.integers(0, 16, (count, 1))
    words[random.random(count) < 0.1] = -32768
    entries, starts = random.integers(0, 3, count), random.random(count) < 0.1
    kinds = np.where(random.random(count) < 0.5, Peak.ABSOLUTE, Peak.MAXIMUM)
    lanes = random.integers(1, config.k_lanes + 1, count)
    enables = random.random(count) < 0.8
    table, history = [0, 0, 0], []
    for word, entry, start, kind, lane, enable in zip(words, entries, starts, kinds, lanes, enables, strict=True):
        if enable:
            peak = (np.abs(word[:lane]) if kind == Peak.ABSOLUTE else word[:lane]).max()
            table[entry] = peak if start else max(table[entry], peak)
        history.append(table[entry])

    # The table is asked for the entry of a word in the cycle after it is written: `latency` + 1 cycles after the word.
    later = unit.latency + 1
    idle = [False] * later
    inputs = {"word": words, "entry": entries, "start": starts, "kind": kinds, "lanes": lanes, "enable": enables}
    inputs = {name: [*values, *(idle if name == "enable" else values[:later])] for name, values in inputs.items()}
    inputs["read.address"] = [*entries[:later], *entries]
    found = StreamBench(unit, settings={"read.enable": 1}).words(inputs, ["read.data"], 1)["read.data"]
    assert found[later:] == history
