# SPDX-License-Identifier: Apache-2.0
"""A model with a broken part gets a warning, however good its mean figures are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moevit.golden.quant import quantise
from moevit.golden.quant.fidelity import Fidelity, compare
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.golden.quant.verdict import verdict
from moevit.golden.reference import load_state
from moevit.spec.networks import Network

PLAIN = Network(name="vit", height=32, width=32, patch=8, dim=32, heads=2, depth=2, hidden=64, final_norm=True)


@pytest.fixture
def tensors():
    return synthetic_checkpoint(PLAIN, 1)


def judged(network, tensors, change=lambda model: model):
    images = synthetic_images(network, 1, 6)
    model = change(quantise(network, tensors, images[:4]))
    reference = load_state(network, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return verdict(model, tensors, compare(reference, model, images[4:]))


def test_a_sound_model_has_no_warning(tensors):
    found = judged(PLAIN, tensors)
    assert found.warnings == ()
    assert found.worst_sqnr <= found.sqnr and found.cosine_least >= 0.99
    assert found.saturated["v"][1] == 2 * 2 * PLAIN.tokens * PLAIN.dim


def test_a_drowned_layer_does_not_hide_behind_its_headline(tensors):
    tensors["blocks.0.mlp.fc2.bias"][5] = 3000
    found = judged(PLAIN, tensors)
    assert found.sqnr > 50 and found.cosine_median > 0.999  # the mean figures
    text = "\n".join(found.warnings)
    assert "blocks.0.mlp.fc2.bias[5] = 3000 takes over 25% of the residual's range" in text
    assert f"blocks.1 {found.worst.partition('.')[2]} is lost in noise" in text and found.worst_sqnr < 0


def test_a_clipped_tensor_is_named(tensors):
    found = judged(PLAIN, tensors, lambda model: replace(model, tensors={
        **model.tensors, "blocks.1.attn.value.bias": model["blocks.1.attn.value.bias"] + np.int16(90)}))
    assert any(warning.startswith("blocks.1 v clips: ") for warning in found.warnings)
    assert found.saturated["v"][0] > 100 > found.saturated["q"][0]


def test_routing_and_tokens_below_their_thresholds(tensors):
    fidelity = Fidelity({"tokens": 30.0}, np.array([0.9] * 6 + [0.2]), clear_routing={1: 0.98, 3: 1.0})
    model = quantise(PLAIN, tensors, synthetic_images(PLAIN, 1, 1), compensate=False)
    found = verdict(model, tensors, fidelity)
    places = [warning.split(":")[0] for warning in found.warnings]
    assert places == ["final tokens", "final tokens", "blocks.1.moe.gate"]
    assert found.routing == {1: 0.98, 3: 1.0}


def test_an_approximated_activation_is_told(tensors):
    found = judged(replace(PLAIN, activation="quick_gelu"), tensors)
    assert any("activation quick_gelu runs on the table of the exact GELU" in warning for warning in found.warnings)
