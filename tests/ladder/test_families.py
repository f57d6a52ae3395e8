# SPDX-License-Identifier: Apache-2.0
"""Rung 3 for published families: two blocks of each in their own width, on few patches, are equal on the RTL.

Widths are those of usyd-community/vitpose-plus-small, google-research/vmoe (B/16, E=8, K=2), VITA-Group/M3ViT (small)
and facebook/dinov2-small. Weights are random.
"""

import numpy as np
import pytest

from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.synthetic import synthetic_images, synthetic_model
from moevit.spec.networks import Network

FAMILIES = [
    Network(name="vitpose-plus-small", height=64, width=48, patch=16, dim=384, heads=12, depth=2, hidden=1536,
            prefix_tokens=0, final_norm=True, tasks=("coco", "aic"), task_fc2=True, norm_eps=1e-12),
    Network(name="m3vit-small", height=32, width=64, patch=16, dim=384, heads=12, depth=2, hidden=1536, experts=16,
            top_k=4, expert_hidden=384, tasks=("semseg", "depth")),
    Network(name="vmoe-b16", height=32, width=48, patch=16, dim=768, heads=12, depth=2, hidden=3072, experts=8, top_k=2,
            expert_hidden=3072, final_norm=True, activation="gelu_tanh"),
    Network(name="dinov2-small", height=42, width=28, patch=14, dim=384, heads=6, depth=2, hidden=1536,
            final_norm=True),
]


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES, ids=lambda network: network.name)
def test_two_blocks(pair, network):
    model, image = synthetic_model(network, 1), synthetic_images(network, 2, 1)[0]
    both, integer = pair(model, "16x16"), IntegerModel(model)
    for index, task in enumerate(network.tasks):
        np.testing.assert_array_equal(both.run(image, task), integer.run(image, index).tokens)
