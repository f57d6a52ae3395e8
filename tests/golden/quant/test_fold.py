# SPDX-License-Identifier: Apache-2.0
"""Folded layers compute the reference's results, in float."""

import dataclasses

import numpy as np
import pytest
import torch

from moevit.golden.quant.fold import GROWTH, centred, fold, offsets
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.golden.reference import load_state, pixels
from moevit.spec.networks import NETWORKS

TINY = NETWORKS["tiny_test"]


@pytest.fixture(scope="module")
def folded():
    tensors = synthetic_checkpoint(TINY, 5)
    image = synthetic_images(TINY, 5, 1)
    model = load_state(TINY, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    trace = {name: value[0].numpy() for name, value in model.trace(pixels(image), 1).items()}
    return tensors, fold(TINY, tensors), trace, image[0]


def apply(layer, x):
    return x @ layer.weight.T + layer.bias


def test_patches_in_image_order(folded):
    tensors, layers, trace, image = folded
    rows = image.reshape(2, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(8, -1) / 256
    found = apply(layers["patch_embed"], rows) + tensors["patch_embed.proj.bias"]
    np.testing.assert_allclose(found, trace["patch_tokens"], atol=1e-5)


@pytest.mark.parametrize("block", [0, 1])
def test_attention(folded, block):
    tensors, layers, trace, _ = folded
    name, constant = f"blocks.{block}.attn", offsets(tensors, block)
    normed = trace[f"{block}.norm1"] - tensors[f"blocks.{block}.norm1.bias"]
    np.testing.assert_allclose(apply(layers[f"{name}.query"], normed), trace[f"{block}.q"], atol=1e-5)
    np.testing.assert_allclose(apply(layers[f"{name}.key"], normed) + constant.key, trace[f"{block}.k"], atol=1e-5)
    np.testing.assert_allclose(apply(layers[f"{name}.value"], normed) + constant.value, trace[f"{block}.v"], atol=1e-5)
    mixed = trace[f"{block}.attn_out"] - constant.value
    np.testing.assert_allclose(apply(layers[f"{name}.proj"], mixed), trace[f"{block}.attn_proj"], atol=1e-5)


def test_dropping_the_key_constant_leaves_the_softmax(folded):
    tensors, _, trace, _ = folded
    query, key = trace["0.q"][:, :16], trace["0.k"][:, :16]
    without = query @ (key - offsets(tensors, 0).key[:16]).T * 16**-0.5
    probs = np.exp(without - without.max(1, keepdims=True))
    np.testing.assert_allclose(probs / probs.sum(1, keepdims=True), trace["0.attn_probs"][0], atol=1e-5)


def test_ffn_and_gate(folded):
    tensors, layers, trace, _ = folded
    normed = [trace[f"{block}.norm2"] - tensors[f"blocks.{block}.norm2.bias"] for block in range(2)]
    np.testing.assert_allclose(apply(layers["blocks.0.mlp.fc1"], normed[0]), trace["0.fc1"], atol=1e-5)
    np.testing.assert_allclose(apply(layers["blocks.0.mlp.fc2"], trace["0.gelu"]), trace["0.fc2"], atol=1e-5)
    gate = layers["blocks.1.moe.gate"]
    np.testing.assert_allclose(normed[1] @ gate.weight[1].T + gate.bias[1], trace["1.gate_logits"], atol=1e-5)
    fc1, token = layers["blocks.1.moe.fc1"], 3
    expert = trace["1.top_k_index"][token, 0]
    np.testing.assert_allclose(fc1.weight[expert] @ normed[1][token] + fc1.bias[expert], trace["1.fc1"][token, 0],
                               atol=1e-5)


def test_a_gate_without_bias():
    network = dataclasses.replace(TINY, tasks=("one",))
    tensors = synthetic_checkpoint(network, 5)
    bias = tensors.pop("blocks.1.moe.gate.bias")
    found = fold(network, tensors)["blocks.1.moe.gate"].bias
    np.testing.assert_allclose(found + bias, fold(network, {**tensors, "blocks.1.moe.gate.bias": bias})
                               ["blocks.1.moe.gate"].bias, atol=1e-12)


def test_centred_weights_cancel_what_is_alike_in_all_channels():
    rng = np.random.default_rng(2)
    weight, gamma = rng.normal(size=(6, 32)), rng.uniform(0.5, 2, 32)
    weight[0] += 1 / gamma
    found, x = centred(weight, gamma), rng.normal(size=(9, 32))
    x -= x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose((gamma * x) @ found.T, (gamma * x) @ weight.T, atol=1e-12)
    assert (np.abs(found @ gamma) <= np.abs(weight @ gamma) + 1e-12).all()
    assert abs(found[0] @ gamma) < 1e-9 < abs(weight[0] @ gamma)
    assert (np.abs(found).max(axis=1) <= GROWTH * np.abs(weight).max(axis=1)).all()


def test_weights_stay_where_a_gamma_is_small_or_zero():
    weight = np.random.default_rng(3).normal(size=(4, 8))
    for least in (0.0, 1e-6):
        gamma = np.ones(8)
        gamma[3] = least
        np.testing.assert_array_equal(centred(weight, gamma), weight)
