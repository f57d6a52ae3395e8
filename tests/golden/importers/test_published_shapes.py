# SPDX-License-Identifier: Apache-2.0
"""Published networks in full size, with zero weights, compile, and every figure of a frame is computed.

Sizes: usyd-community/vitpose-plus-small (config.json), and vmoe/configs/vmoe_paper (ViT-B/16, E=8, K=2, Every 2).
"""

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.estimator.estimate import estimate
from moevit.golden.importers.vitpose import TASKS
from moevit.spec.arrays import CONFIGS
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel, tensor_shapes

VITPOSE_PLUS_SMALL = Network(
    name="vitpose-plus-small", height=256, width=192, patch=16, dim=384, heads=12, depth=12, hidden=1536,
    prefix_tokens=0, final_norm=True, tasks=TASKS, task_fc2=True, norm_eps=1e-12)
VMOE_B16 = Network(
    name="vmoe-b16", height=224, width=224, patch=16, dim=768, heads=12, depth=12, hidden=3072, experts=8, top_k=2,
    expert_hidden=3072, final_norm=True, activation="gelu_tanh")
#: Multiply-accumulates by hand: embedding, per block 4 dim^2 + 2 tokens dim of attention, FFNs (top 2 of the experts).
MACS = {
    "vitpose-plus-small": 192 * (768 * 384 + 12 * (4 * 384**2 + 2 * 192 * 384 + 2 * 384 * 1536)),
    "vmoe-b16": 196 * 768**2 + 197 * (12 * (4 * 768**2 + 2 * 197 * 768) + 18 * 2 * 768 * 3072 + 6 * 8 * 768),
}


def zeros(network: Network) -> QuantisedModel:
    tensors = {name: np.zeros(shape, dtype) for name, (shape, dtype) in tensor_shapes(network).items()}
    for name in tensors:
        if name.endswith("moe.order"):
            tensors[name] += np.arange(network.experts, dtype=np.uint8)
    return QuantisedModel(network, tensors, 9)


@pytest.mark.parametrize("network, name", [(VITPOSE_PLUS_SMALL, "32x64"), (VMOE_B16, "32x64_long")],
                         ids=["vitpose-plus-small", "vmoe-b16"])
def test_compiles_and_is_estimated(network, name):
    config = CONFIGS[name]
    bundle = compile_model(zeros(network), config)
    assert tuple(bundle.manifest["tasks"]) == network.tasks
    figures = estimate(network, config)
    assert figures.macs == MACS[network.name]
    assert figures.compute_bound <= figures.cycles < 2 * figures.bound
