# SPDX-License-Identifier: Apache-2.0
from math import inf

import numpy as np
import pytest
import torch

from moevit.golden.quant import quantise
from moevit.golden.quant.fidelity import compare, sqnr
from moevit.golden.quant.images import photographs
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.golden.reference import load_state
from moevit.spec.networks import NETWORKS

TINY = NETWORKS["tiny_test"]


def test_sqnr():
    assert sqnr(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20)
    assert sqnr(np.ones(2), np.ones(2)) == inf and sqnr(np.zeros(2), np.ones(2)) == -inf


def test_every_tensor_of_a_small_network_is_close_to_float():
    tensors, images = synthetic_checkpoint(TINY, 1), synthetic_images(TINY, 1, 4)
    model = load_state(TINY, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    found = compare(model, quantise(TINY, tensors, images[:2]), images[2:])
    assert set(found.routing) == {1} and min(found.routing[1], found.clear_routing[1]) >= 0.9
    # Where the routing differs, tokens differ. Logits of random weights are small against those of their row.
    floors = {"tokens": 27, "1.x_post_mlp": 27, "0.attn_logits": 24, "1.attn_logits": 24,
              "0.v": 31, "0.attn_out": 30, "1.attn_out": 30,
              "1.k": 30}
    for name, decibel in found.sqnr.items():
        assert decibel >= floors.get(name, 32), name
    assert found.sqnr["x_embed"] >= 45
    assert np.median(found.cosines) >= 0.999 and len(found.cosines) == 2 * 2 * TINY.tokens
    assert found.written["0.v"] == 4 * TINY.tokens * TINY.dim and found.saturated["0.v"] < 20


def test_photographs_fit_any_network():
    for name in ("tiny_test", "m3vit_tiny", "deit_tiny"):
        network = NETWORKS[name]
        images = photographs(network, 5)
        assert images.shape == (5, network.height, network.width, 3) and images.dtype == np.uint8
        np.testing.assert_array_equal(images, photographs(network, 5))
        assert (images != photographs(network, 5, seed=1)).any() and all(image.std() > 2 for image in images)
