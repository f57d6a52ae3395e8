# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.softmax import exponentials
from moevit.hw.math.exp2 import Exp2
from moevit.sim.bench.stream_bench import StreamBench

SEED = 4


def run(lanes, words, maximums, enables):
    unit = Exp2(lanes)
    inputs = {"logits": words, "maximum": maximums, "enable": enables}
    return np.array(StreamBench(unit).words(inputs, ["o"], unit.latency)["o"])


def test_every_logit():
    logits = np.arange(-32768, 32768).reshape(-1, 64)
    maximum = np.full(len(logits), 32767)
    out = run(64, logits, maximum, [(1 << 64) - 1] * len(logits))
    assert np.array_equal(out, exponentials(logits, maximum, 64))


def test_maximum_and_mask():
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    logits = random.integers(-32768, 32768, (200, 8))
    keys = random.integers(0, 9, 200)
    maximum = np.array([max(row[:count], default=0) for row, count in zip(logits, keys, strict=True)])
    out = run(8, logits, maximum, [(1 << count) - 1 for count in keys])
    rows = zip(logits, maximum, keys, strict=True)
    expected = [exponentials(row[None], top[None], count)[0] for row, top, count in rows]
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("lanes", [0, 7])
def test_lanes_refused(lanes, unused_allowed):
    with pytest.raises(ValueError, match=str(lanes)):
        Exp2(lanes)
