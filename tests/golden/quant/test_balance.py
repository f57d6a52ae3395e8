# SPDX-License-Identifier: Apache-2.0
"""Synthetic gates spread tokens as requested, in the integer model too."""

import numpy as np
import pytest

from moevit.estimator.loads import MEASURED, expert_loads
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.balance import balance, biases_for
from moevit.golden.quant.quantiser import quantise
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.spec.networks import NETWORKS


@pytest.mark.parametrize("loads", MEASURED)
def test_biases(loads):
    logits = 2 * np.random.default_rng(40).standard_normal((129, 16)).astype(np.float32)
    order = np.argsort(-(logits + biases_for(logits, loads, 2)), axis=1)[:, :2]
    found = np.bincount(order.ravel(), minlength=16)
    assert np.abs(found - loads).sum() <= 4
    assert not found[np.array(loads) == 0].any()


def test_a_network_is_routed_so():
    network = NETWORKS["demo"]
    images = synthetic_images(network, 41, 2)
    plain = synthetic_checkpoint(network, 41)
    tensors = balance(network, plain, images[0], expert_loads)
    assert {name for name in tensors if not np.array_equal(tensors[name], plain[name])} == {
        "blocks.1.moe.gate.bias", "blocks.3.moe.gate.bias"}
    model = quantise(network, tensors, images, compensate=False)
    integer = IntegerModel(model)
    for task in range(len(network.tasks)):
        trace = integer.run(images[0], task).trace
        for block, loads in expert_loads(network, task).items():
            original = model[f"blocks.{block}.moe.order"][trace[f"{block}.top_k_index"]]
            found = np.bincount(original.ravel(), minlength=network.experts)
            assert np.abs(found - loads).sum() <= 0.1 * sum(loads), (task, block, found, loads)


def test_kept_gates_stay():
    network = NETWORKS["tiny_test"]
    tensors = synthetic_checkpoint(network, 42)
    kept = balance(network, tensors, synthetic_images(network, 42, 1)[0], expert_loads, keep=[1])
    assert all(np.array_equal(kept[name], tensors[name]) for name in tensors)
