# SPDX-License-Identifier: Apache-2.0
"""V-MoE's and ViT's flax checkpoints with random weights.

Neither library is available here, so names and forward pass are copied by hand from google-research/vmoe
(vmoe/nn/vit_moe.py, routing.py) and google-research/vision_transformer (vit_jax/models_vit.py).
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import NeedsOption, Unsupported

from .checks import assert_task_tokens
from .conftest import assert_classes, assert_integer_equals_machine

DIM, HEADS, HIDDEN, PATCH, GRID, CLASSES = 32, 2, 64, 8, (4, 4), 5
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def flax(depth=2, moe=(1,), cls=True, front="", experts=4, **other) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, drawn at random, under flax's names."""
    rng = np.random.default_rng(5)

    def draw(*shape, inputs=None):
        return (rng.standard_normal(shape) / np.sqrt(inputs or 4)).astype(np.float32)

    def norm(name):
        return {f"{name}/scale": 1 + 0.1 * draw(DIM), f"{name}/bias": 0.2 * draw(DIM)}

    def dense(name, inputs, outputs, lead=()):
        return {f"{name}/kernel": draw(*lead, inputs, outputs, inputs=inputs), f"{name}/bias": draw(*lead, outputs) / 4}

    found = {"embedding/kernel": draw(PATCH, PATCH, 3, DIM, inputs=3 * PATCH**2), "embedding/bias": draw(DIM),
             "Encoder/posembed_input/pos_embedding": draw(1, GRID[0] * GRID[1] + cls, DIM),
             **({"cls": draw(1, 1, DIM)} if cls else {}), **norm("Encoder/encoder_norm"), **dense("head", DIM, CLASSES)}
    for block in range(depth):
        name = f"Encoder/encoderblock_{block}"
        found |= norm(f"{name}/LayerNorm_0") | norm(f"{name}/LayerNorm_1")
        for part in ("query", "key", "value"):
            found[f"{name}/SelfAttention/{part}/kernel"] = draw(DIM, HEADS, DIM // HEADS, inputs=DIM)
            found[f"{name}/SelfAttention/{part}/bias"] = draw(HEADS, DIM // HEADS) / 4
        found[f"{name}/SelfAttention/out/kernel"] = draw(HEADS, DIM // HEADS, DIM, inputs=DIM)
        found[f"{name}/SelfAttention/out/bias"] = draw(DIM) / 4
        mlp, lead = (f"{name}/Moe/Mlp", (experts,)) if block in moe else (f"{name}/Mlp", ())
        found |= dense(f"{mlp}/Dense_0", DIM, HIDDEN, lead) | dense(f"{mlp}/Dense_1", HIDDEN, DIM, lead)
        if block in moe:
            found[f"{name}/Moe/Router/dense/kernel"] = draw(DIM, experts, inputs=DIM)
    return {front + name: value for name, value in {**found, **other}.items()}


def forward(arrays: dict[str, np.ndarray], top_k: int = 2):
    """V-MoE without dropped tokens: images (B, 3, H, W) -> normed tokens."""
    part = {name: torch.from_numpy(value) for name, value in arrays.items()}

    def norm(x, name):
        return F.layer_norm(x, (DIM,), part[f"{name}/scale"], part[f"{name}/bias"], 1e-6)

    def attention(x, name):
        q, k, v = (torch.einsum("bnd,dhc->bhnc", x, part[f"{name}/{p}/kernel"]) + part[f"{name}/{p}/bias"][:, None]
                   for p in ("query", "key", "value"))
        weights = (q @ k.transpose(-2, -1) / (DIM // HEADS) ** 0.5).softmax(-1)
        return torch.einsum("bhnc,hcd->bnd", weights @ v, part[f"{name}/out/kernel"]) + part[f"{name}/out/bias"]

    def mlp(x, name, expert=...):
        for layer in range(2):
            x = x @ part[f"{name}/Dense_{layer}/kernel"][expert] + part[f"{name}/Dense_{layer}/bias"][expert]
            x = x if layer else F.gelu(x, approximate="tanh")
        return x

    def moe(x, name):
        gates = (x @ part[f"{name}/Router/dense/kernel"]).softmax(-1)
        chosen = torch.zeros_like(gates).scatter(-1, gates.topk(top_k).indices, 1.0)
        return sum((gates * chosen)[..., e, None] * mlp(x, f"{name}/Mlp", e) for e in range(gates.shape[-1]))

    def run(images, task=0):
        x = torch.einsum("bcyixj,ijcd->byxd", images.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH)),
                         part["embedding/kernel"]).flatten(1, 2) + part["embedding/bias"]
        if "cls" in part:
            x = torch.cat([part["cls"].expand(len(x), -1, -1), x], 1)
        x = x + part["Encoder/posembed_input/pos_embedding"]
        block = 0
        while f"Encoder/encoderblock_{block}/LayerNorm_0/scale" in part:
            name = f"Encoder/encoderblock_{block}"
            x = x + attention(norm(x, f"{name}/LayerNorm_0"), f"{name}/SelfAttention")
            y = norm(x, f"{name}/LayerNorm_1")
            x = x + (moe(y, f"{name}/Moe") if f"{name}/Moe/Router/dense/kernel" in part else mlp(y, f"{name}/Mlp"))
            block += 1
        return norm(x, "Encoder/encoder_norm")

    return run


def saved(path, **arrays):
    np.savez(path / "vmoe.npz", **arrays)
    return path / "vmoe.npz"


@pytest.mark.parametrize("depth, moe", [(2, (1,)), (3, (1, 2)), (2, (0, 1))], ids=["odd", "last two", "every"])
def test_vmoe(tmp_path, depth, moe):
    arrays = flax(depth, moe)
    imported = import_checkpoint(saved(tmp_path, **arrays), top_k=2)
    network = imported.network
    assert network.moe_blocks == moe and network.experts == 4 and not network.renormalise
    assert (network.activation, network.norm_eps, network.heads) == ("gelu_tanh", 1e-6, HEADS)
    assert_task_tokens(imported, forward(arrays))
    assert_classes(imported, lambda images: forward(arrays)(images)[:, 0] @ torch.from_numpy(arrays["head/kernel"])
                   + torch.from_numpy(arrays["head/bias"]), *HALF)
    assert any("capacity" in note for note in imported.report.notes["assumed"])


def test_integer_model_runs_on_the_machine(tmp_path):
    assert_integer_equals_machine(import_checkpoint(saved(tmp_path, **flax()), top_k=2))


def test_no_class_token(tmp_path):
    arrays = flax(cls=False)
    with pytest.raises(NeedsOption, match="--pool"):
        import_checkpoint(saved(tmp_path, **arrays), top_k=2)
    imported = import_checkpoint(saved(tmp_path, **arrays), top_k=2, pool="mean")
    assert imported.network.prefix_tokens == 0
    assert_task_tokens(imported, forward(arrays))


def test_names_below_params(tmp_path):
    imported = import_checkpoint(saved(tmp_path, **flax(front="params/")), top_k=2)
    assert_task_tokens(imported, forward(flax()))


def test_plain_vit_of_vision_transformer(tmp_path):
    """The names are Transformer, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3."""
    moved = {"Encoder/": "Transformer/", "SelfAttention": "MultiHeadDotProductAttention_1",
             "LayerNorm_1": "LayerNorm_2", "/Mlp/": "/MlpBlock_3/"}
    arrays, renamed = flax(moe=()), {}
    for name, value in arrays.items():
        for old, new in moved.items():
            name = name.replace(old, new)
        renamed[name] = value
    imported = import_checkpoint(saved(tmp_path, **renamed))
    assert imported.network.experts == 0
    assert_task_tokens(imported, forward(arrays))


def test_top_k_is_asked_for(tmp_path):
    with pytest.raises(NeedsOption, match="published ones use 2") as error:
        import_checkpoint(saved(tmp_path, **flax()))
    assert error.value.options == ("--top-k",)


def test_published_ones_use_two_of_eight(tmp_path):
    arrays = flax(experts=8)
    imported = import_checkpoint(saved(tmp_path, **arrays))
    assert imported.network.top_k == 2
    assert any("2 of the 8" in note for note in imported.report.notes["assumed"])
    assert_task_tokens(imported, forward(arrays))


def test_head_behind_tanh_is_left_out(tmp_path):
    extra = {"pre_logits/kernel": np.eye(DIM, dtype=np.float32), "pre_logits/bias": np.zeros(DIM, np.float32)}
    imported = import_checkpoint(saved(tmp_path, **flax(**extra)), top_k=2)
    assert set(imported.host["heads"]) == {"features"}
    assert any("tanh" in note for note in imported.report.notes["dropped"])


@pytest.mark.parametrize("name", ["Encoder/encoderblock_0/SelfAttention/query_ln/scale", "MapHead/probe"])
def test_parts_that_the_machine_has_not(tmp_path, name):
    with pytest.raises(Unsupported, match=name):
        import_checkpoint(saved(tmp_path, **flax(**{name: np.ones(DIM, np.float32)})), top_k=2)
