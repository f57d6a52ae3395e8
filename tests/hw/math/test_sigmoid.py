# SPDX-License-Identifier: Apache-2.0
import numpy as np

from moevit.golden.integer.sigmoid import log2_sigmoid, sigmoid
from moevit.hw.math.sigmoid import Sigmoid
from moevit.sim.bench.stream_bench import StreamBench


def run(values):
    unit = Sigmoid()
    found = StreamBench(unit).words({"i": values}, ["log2", "share"], unit.latency)
    return np.array([found["log2"], found["share"]])


def test_every_step_of_the_tables_and_both_ends():
    """Each 2^-12 up to where the tables end, of either sign, and what lies beyond."""
    seed = 3
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    near = np.arange(-(17 << 12), 17 << 12, 3) * 16 + random.integers(0, 16, -(-(34 << 12) // 3))
    far = np.concatenate([random.integers(-(1 << 23), 1 << 23, 1000), [-(1 << 23), (1 << 23) - 1, 0, -1, 1]])
    values = np.concatenate([near, far, np.arange(-1100, 1100)])
    log2, share = run(values)
    assert np.array_equal(log2, log2_sigmoid(values))
    assert np.array_equal(share, sigmoid(values))
