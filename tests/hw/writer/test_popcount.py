# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.writer.popcount import PopCount
from moevit.sim.bench.stream_bench import StreamBench


def run(width, words):
    unit = PopCount(width)
    return StreamBench(unit).words({"i": words}, ["o"], unit.latency)["o"]


def test_every_byte():
    assert run(8, list(range(256))) == [word.bit_count() for word in range(256)]


def test_wide():
    random = np.random.default_rng(1)
    words = [0, (1 << 64) - 1, *(int(word) for word in random.integers(0, 1 << 63, 50, dtype=np.uint64))]
    assert run(64, words) == [word.bit_count() for word in words]


@pytest.mark.parametrize("width", [1, 12])
def test_width_refused(width, unused_allowed):
    with pytest.raises(ValueError, match=str(width)):
        PopCount(width)
