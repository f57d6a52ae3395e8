# SPDX-License-Identifier: Apache-2.0
"""A sequence that does not fit the memories at once is cut into row ranges, with the same result."""

import dataclasses

import numpy as np
import pytest

from moevit.compiler.plan import Plan
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.synthetic import synthetic_model
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.networks import NETWORKS

from .conftest import config_of

STALLS = MemorySettings(stall=0.4, seed=3, read_latency=90)


@pytest.mark.parametrize("name, heads", [("8x8", 2), ("8x16", 2), ("8x16", 4)])
def test_49_tokens_on_a_machine_for_32(pair, name, heads):
    """With four heads, two share an n-tile of 8x16."""
    network = dataclasses.replace(NETWORKS["tiny_test"], name=f"tiny_48x64_{heads}", height=48, width=64, heads=heads)
    plan = Plan(network, config_of(name))
    assert [len(part) for part in (plan.whole_rows, plan.embedding, plan.attention, plan.dense, plan.moe)] \
        == [2, 2, 2, 2, 4]
    model = synthetic_model(network, 3)
    both, integer = pair(model, name), IntegerModel(model)
    image = np.random.default_rng(9).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for index, task in enumerate(both.rtl.tasks):
        frame = integer.run(image, index)
        for memory in (MemorySettings(), STALLS):
            both.board.memory = memory
            np.testing.assert_array_equal(both.run(image, task), frame.tokens)
        experts, rows = np.unique(model["blocks.1.moe.order"][frame.trace["1.top_k_index"]], return_counts=True)
        assert both.rtl.report.expert_rows[1] == dict(zip(experts, rows, strict=True))
        assert both.rtl.report.counters["SATURATED"] == sum(frame.saturated.values())
