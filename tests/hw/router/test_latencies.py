# SPDX-License-Identifier: Apache-2.0
"""The router's parts take as many cycles as they state."""

import pytest

from moevit.hw.router.candidates import Candidates
from moevit.hw.router.softmax import GateSoftmax
from moevit.hw.router.top_k import TopK
from moevit.sim.bench.stream_bench import StreamBench

from .router_bench import config_of

TOKEN = {"logits": [0] * 8, "first": 1, "last": 1, "experts": 8, "top_k": 2, "renormalise": 0, "sigmoid": 0,
         "biased": 0, "sets_bias": 0}


@pytest.mark.parametrize("field", ["", "sigmoid", "biased"])
def test_candidates(field):
    unit = Candidates(config_of(8))
    token = TOKEN | ({field: 1} if field else {})
    more = unit.latency_ring if field else 0
    assert StreamBench(unit, settle=30).latency({"i": [token]}, "o") == unit.latency + more


@pytest.mark.parametrize("experts", [8, 32])
def test_softmax(experts):
    unit = GateSoftmax(config_of(experts))
    token = {"keys": [0] * experts, "logits": [0] * experts, "given": 0, "highest": 0, "absolute": 0,
             "experts": experts, "top_k": 2, "renormalise": 0}
    bench = StreamBench(unit, settle=30)
    assert bench.latency({"i": [token]}, "shares") == unit.latency
    assert bench.latency({"i": [token]}, "inverse") == unit.latency_inverse


@pytest.mark.parametrize("after", [1, 2, 6])
def test_top_k(after):
    """Scores of a token whose inverse is 1/8; a later inverse changes nothing."""
    unit, count = TopK(config_of(8), after), 20
    share = {"ranks": [1, 0, 2, 3, 4, 5, 6, 7], "e": [30000, 65535, 20000, 1, 1, 1, 1, 1]}
    inverse = {"mantissa": 1 << 15, "exponent": -18}
    found = StreamBench(unit).words({
        "shares.valid": [1] + [0] * (count - 1), "shares.payload": [share] * count, "top_k": [3] * count,
        "inverse.valid": [int(cycle == after) for cycle in range(count)],
        "inverse.payload": [inverse if cycle == after else {"mantissa": 5, "exponent": -20} for cycle in range(count)],
    }, ["o.valid", "o.payload"], 0)
    assert found["o.valid"] == [int(unit.latency <= cycle < unit.latency + 3) for cycle in range(count)]
    assert found["o.payload"][unit.latency:unit.latency + 3] == [
        {"expert": 1, "rank": 0, "last": 0, "score": 16384}, {"expert": 0, "rank": 1, "last": 0, "score": 7500},
        {"expert": 2, "rank": 2, "last": 1, "score": 5000}]
