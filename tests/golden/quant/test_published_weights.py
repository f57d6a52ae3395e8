# SPDX-License-Identifier: Apache-2.0
"""Integers against float on the published weights of m3vit_tiny and its image, which calibration never sees.

``-s`` prints the tables of docs/quantisation.md.
"""

import numpy as np
import pytest

from moevit.golden.quant import quantise
from moevit.golden.quant.images import photographs

from .conftest import IMAGES, measure


def test_block_0(published, quantised):
    found = measure(published, quantised)
    print("\nSQNR from the image, dB: " + ", ".join(f"{name} {value:.1f}" for name, value in found.sqnr.items()))
    assert found.sqnr["0.x_post_mlp"] >= 45
    floors = {"x_embed": 58, "0.q": 36, "0.k": 34, "0.v": 35, "0.attn_logits": 36, "0.attn_out": 42,
              "0.x_post_attn": 48, "0.gelu": 38, "1.attn_out": 37, "1.x_post_attn": 44, "1.gate_logits": 39}
    for name, floor in floors.items():
        assert found.sqnr[name] >= floor, name


@pytest.mark.parametrize("from_image", [True, False], ids=["from the image", "from float tokens"])
def test_routing_of_block_1(published, quantised, from_image):
    found = measure(published, quantised, from_image)
    print(f"\nrouting: same experts {found.same[0]:.1%}, {found.same[1]:.1%}; of those with a clear lead "
          f"different {found.clear_wrong}; gate noise {found.gate_noise[0]:.4f}, {found.gate_noise[1]:.4f}")
    assert found.clear_wrong == (0, 0)
    assert min(found.same) >= 0.93


@pytest.mark.slow
def test_other_calibration_images(published):
    """With eight sets of images the block's SQNR hardly changes. The number of misrouted clear tokens is printed."""
    print()
    wrong = []
    for seed in range(8):
        found = measure(published, quantise(published.network, published.tensors,
                                            photographs(published.network, IMAGES, seed)))
        wrong.append(found.clear_wrong)
        print(f"calibration set {seed}: block 0 {found.sqnr['0.x_post_mlp']:.1f} dB, same experts {found.same[0]:.1%}, "
              f"{found.same[1]:.1%}, clear tokens routed otherwise {found.clear_wrong}")
        assert found.sqnr["0.x_post_mlp"] >= 45
    assert np.sum(wrong) <= 4
