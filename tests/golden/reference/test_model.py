# SPDX-License-Identifier: Apache-2.0
"""Shapes, names and inputs of the float model; attention against numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moevit.golden.reference import InputError, M3ViT, pixels
from moevit.golden.reference.model import Attention
from moevit.spec.networks import NETWORKS

TINY = NETWORKS["tiny_test"]
DENSE = ("norm1", "q", "k", "v", "attn_logits", "attn_probs", "attn_out", "attn_proj", "x_post_attn", "norm2", "fc1",
         "gelu", "fc2", "x_post_mlp")
GATE = ("gate_logits", "gate_probs", "top_k_index", "top_k_score")


@pytest.fixture
def model() -> M3ViT:
    torch.manual_seed(3)
    return M3ViT(TINY).eval()


def test_trace_names_and_shapes(model):
    images = torch.rand(2, 3, TINY.height, TINY.width)
    trace = model.trace(images, "depth")
    assert set(trace) == {"patch_tokens", "x_embed", "tokens", *(f"0.{n}" for n in DENSE),
                          *(f"1.{n}" for n in DENSE + GATE)}
    n, d = TINY.tokens, TINY.dim
    shapes = {"patch_tokens": (2, TINY.patches, d), "x_embed": (2, n, d), "0.q": (2, n, d),
              "0.attn_logits": (2, TINY.heads, n, n), "0.fc1": (2, n, TINY.hidden),
              "1.gate_logits": (2, n, TINY.experts), "1.top_k_index": (2, n, TINY.top_k),
              "1.fc1": (2, n, TINY.top_k, TINY.expert_hidden), "1.fc2": (2, n, TINY.top_k, d), "tokens": (2, n, d)}
    for name, shape in shapes.items():
        assert tuple(trace[name].shape) == shape, name
    torch.testing.assert_close(model(images, 1), trace["tokens"], rtol=0, atol=0)


def test_residual_stream_adds_up(model):
    trace = model.trace(torch.rand(1, 3, TINY.height, TINY.width))
    torch.testing.assert_close(trace["0.x_post_attn"], trace["x_embed"] + trace["0.attn_proj"])
    torch.testing.assert_close(trace["0.x_post_mlp"], trace["0.x_post_attn"] + trace["0.fc2"])
    scored = (trace["1.top_k_score"][..., None] * trace["1.fc2"]).sum(-2)
    torch.testing.assert_close(trace["1.x_post_mlp"], trace["1.x_post_attn"] + scored)
    torch.testing.assert_close(trace["0.gelu"], F.gelu(trace["0.fc1"], approximate="none"))


def test_patches_row_by_row(model):
    images = torch.rand(1, 3, TINY.height, TINY.width)
    proj = model.patch_embed.proj
    columns = TINY.width // TINY.patch
    tokens = model.trace(images)["patch_tokens"][0]
    for patch in range(TINY.patches):
        top, left = (patch // columns) * TINY.patch, (patch % columns) * TINY.patch
        crop = images[0, :, top : top + TINY.patch, left : left + TINY.patch]
        torch.testing.assert_close(tokens[patch], (proj.weight * crop).sum((1, 2, 3)) + proj.bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_against_torch(heads):
    torch.manual_seed(4)
    attention = Attention(32, heads)
    x = torch.randn(2, 7, 32)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in F.linear(
        x, attention.qkv.weight, attention.qkv.bias).chunk(3, -1))
    expected = attention.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs(name):
    network = NETWORKS[name]
    model = M3ViT(replace(network, depth=2)).eval()
    for task in network.tasks:
        trace = model.trace(torch.rand(1, 3, network.height, network.width), task)
        assert tuple(trace["tokens"].shape) == (1, network.tokens, network.dim)
        assert ("norm" in trace) == network.final_norm


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_prefix_tokens(prefix):
    network = replace(NETWORKS["deit_tiny"], depth=1, prefix_tokens=prefix)
    model = M3ViT(network).eval()
    with torch.no_grad():
        model.prefix_tokens.normal_()
    images = torch.rand(2, 3, 224, 224)
    trace = model.trace(images)
    assert tuple(trace["x_embed"].shape) == (2, 196 + prefix, 192)
    for place in range(prefix):
        token = model.prefix_tokens[0, place]
        torch.testing.assert_close(trace["x_embed"][1, place], token + model.pos_embed[0, place])
    torch.testing.assert_close(trace["x_embed"][:, prefix:], trace["patch_tokens"] + model.pos_embed[:, prefix:])


def test_final_norm_follows_the_tokens():
    network = replace(NETWORKS["deit_tiny"], depth=1)
    model = M3ViT(network).eval()
    images = torch.rand(1, 3, 224, 224)
    trace = model.trace(images)
    torch.testing.assert_close(trace["norm"], F.layer_norm(trace["tokens"], (192,), eps=1e-6))
    torch.testing.assert_close(model(images), trace["norm"], rtol=0, atol=0)
    assert "norm.weight" not in M3ViT(replace(network, final_norm=False)).state_dict()


def test_norm_eps_is_the_networks():
    model = M3ViT(replace(TINY, norm_eps=0.5))
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.LayerNorm)} == {0.5}


def test_tensor_names_of_a_plain_vit():
    names = set(M3ViT(replace(NETWORKS["deit_tiny"], depth=1)).state_dict())
    assert names == {
        "prefix_tokens", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias",
        *(f"blocks.0.{layer}.{part}" for part in ("weight", "bias")
          for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")),
    }


def test_pixels():
    images = np.random.default_rng(5).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    x = pixels(images)
    assert x.dtype == torch.float32 and tuple(x.shape) == (2, 3, 4, 6)
    assert x[1, 2, 3, 5].item() == images[1, 3, 5, 2] / 256
    for bad in (images.astype(np.float32), images[0], images.transpose(0, 3, 1, 2)):
        with pytest.raises(InputError, match="u8"):
            pixels(bad)


@pytest.mark.parametrize("images", [torch.rand(3, 16, 32), torch.rand(1, 3, 32, 16), torch.rand(1, 1, 16, 32),
                                    torch.zeros(1, 3, 16, 32, dtype=torch.uint8)])
def test_wrong_images(model, images):
    with pytest.raises(InputError, match="tiny_test takes float images"):
        model(images)


@pytest.mark.parametrize("task", ["Depth", 2, -1])
def test_wrong_task(model, task):
    with pytest.raises(InputError, match=r"no task .*semseg, depth"):
        model(torch.rand(1, 3, 16, 32), task)
