# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.rounding import round_shift
from moevit.hw.math.exp2_wide import Exp2Wide
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.tables import exp2_wide_table

SEED = 11
LOW, HIGH = -(1 << 23), (1 << 23) - 1


def expected(logits, maximum):
    below = round_shift(maximum[:, None] - logits, 8)
    return round_shift(exp2_wide_table()[below & 255], np.minimum(below >> 8, 31))


def run(logits, maximum):
    unit = Exp2Wide(logits.shape[1])
    return np.array(StreamBench(unit).words({"logits": logits, "maximum": maximum}, ["o"], unit.latency)["o"])


def test_every_distance_that_counts():
    """All 20 x 256 steps of the table that do not round to zero, on either side of their rounding."""
    below = np.arange(20 * 256 + 32) * 256 + 127
    logits = HIGH - np.stack([below, below + 1], axis=1).reshape(-1, 16)
    maximum = np.full(len(logits), HIGH)
    assert np.array_equal(run(logits, maximum), expected(logits, maximum))


@pytest.mark.parametrize("lanes", [1, 7])
def test_random(lanes):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    logits = random.integers(LOW, HIGH + 1, (200, lanes)) >> random.integers(0, 20, (200, lanes))
    maximum = logits.max(axis=1)
    logits[:4], maximum[:4] = LOW, [HIGH, LOW, 0, -1]
    assert np.array_equal(run(logits, maximum), expected(logits, maximum))


def test_lanes_refused(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Exp2Wide(0)
