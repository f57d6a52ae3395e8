# SPDX-License-Identifier: Apache-2.0
"""Rungs 2 and 3 for all options of a network: RTL, golden machine and integer model agree in every value."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.networks import NETWORKS
from moevit.spec.quantised import QuantisedModel

TINY = NETWORKS["tiny_test"]
PLAIN = {"experts": 0, "top_k": 0, "expert_hidden": 0}
NETS = {
    "no prefix tokens": replace(TINY, prefix_tokens=0),
    "sixteen prefix tokens": replace(TINY, prefix_tokens=16),
    "experts in every block": replace(TINY, moe_blocks=(0, 1)),
    "experts in the first block": replace(TINY, moe_blocks=(0,)),
    "experts in the last two of three": replace(TINY, depth=3, moe_blocks=(1, 2)),
    "a shared FFN narrower than an expert": replace(TINY, shared_hidden=24),
    "a shared FFN in every block": replace(TINY, shared_hidden=72, moe_blocks=(0, 1)),
    "an fc2 per task": replace(TINY, task_fc2=True),
    "an fc2 per task, no experts": replace(TINY, task_fc2=True, **PLAIN),
    "patches of 14": replace(TINY, patch=14, height=28, width=42),
    "all of it": replace(TINY, patch=14, height=28, width=42, prefix_tokens=5, shared_hidden=40, task_fc2=True,
                         depth=3, moe_blocks=(0, 2)),
}


def quantised(network) -> tuple[QuantisedModel, np.ndarray]:
    """A synthetic model, and an image."""
    images = np.random.default_rng(1).integers(0, 256, (3, network.height, network.width, 3), dtype=np.uint8)
    return quantise(network, synthetic_checkpoint(network, 1), images[:2], compensate=False), images[2]


@pytest.mark.parametrize("name", ["8x8", "8x16"])
@pytest.mark.parametrize("network", NETS.values(), ids=NETS)
def test_both_tasks(pair, network, name):
    model, image = quantised(network)
    both, integer = pair(model, name), IntegerModel(model)
    tokens = [both.run(image, task) for task in network.tasks]
    for index, found in enumerate(tokens):
        np.testing.assert_array_equal(found, integer.run(image, index).tokens)
    assert not np.array_equal(*tokens)  # each task has its own weights
    both.board.memory = MemorySettings(stall=0.4, seed=3, read_latency=90)
    np.testing.assert_array_equal(both.run(image, network.tasks[1]), tokens[1])
