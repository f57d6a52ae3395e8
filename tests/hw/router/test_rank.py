# SPDX-License-Identifier: Apache-2.0
from itertools import product

import numpy as np
import pytest

from moevit.hw.router.rank import Rank
from moevit.sim.bench.stream_bench import StreamBench

LOW, HIGH = -(1 << 23), (1 << 23) - 1


def run(logits):
    unit = Rank(logits.shape[1])
    return np.array(StreamBench(unit).words({"logits": logits}, ["ranks"], unit.latency)["ranks"])


def expected(logits):
    order = np.argsort(-logits, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def test_every_order_of_four_with_ties():
    logits = np.array(list(product([LOW, -1, 0, HIGH], repeat=4)))
    assert np.array_equal(run(logits), expected(logits))


@pytest.mark.parametrize("count", [1, 7, 32])
def test_random(count):
    random = np.random.default_rng(count)
    logits = random.integers(LOW, HIGH + 1, (100, count))
    logits[50:] >>= 20
    assert np.array_equal(run(logits), expected(logits))


def test_count_refused(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Rank(0)
