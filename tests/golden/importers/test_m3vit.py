# SPDX-License-Identifier: Apache-2.0
"""M3ViT's checkpoints with random weights, and with the published ones.

fastmoe needs CUDA, so names and forward pass are copied by hand from VITA-Group/M3ViT
(models/vision_transformer_moe.py, models/custom_moe_layer.py, models/gate_funs).
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import BadTensor, MissingTensor, NeedsOption
from moevit.golden.quant.published import FOLDER, find_published
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load_state, pixels
from moevit.spec.networks import NETWORKS

from .checks import assert_task_tokens
from .conftest import assert_integer_equals_machine, assert_same

DIM, HEADS, HIDDEN, OWN, EXPERTS, PATCH, GRID = 32, 2, 64, 32, 4, 8, (2, 4)
TASKS = ("semseg", "depth")
ASKED = {"heads": HEADS, "top_k": 2, "grid": GRID, "tasks": TASKS, "normalise": "imagenet"}


def m3vit(noisy=False, shared=0, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """The state dict of two blocks. ``shared``: channels of a task embedding that enters one gate of all tasks."""
    generator = torch.Generator().manual_seed(6)

    def draw(*shape):
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    def linear(name, outputs, inputs):
        return {f"{name}.weight": draw(outputs, inputs), f"{name}.bias": draw(outputs)}

    def norm(name, width=DIM):
        return {f"{name}.weight": 1 + draw(width) / 2, f"{name}.bias": draw(width)}

    found = {"cls_token": draw(1, 1, DIM) * 4, "pos_embed": draw(1, GRID[0] * GRID[1] + 1, DIM) * 4,
             "patch_embed.proj.weight": draw(DIM, 3, PATCH, PATCH) / 3, "patch_embed.proj.bias": draw(DIM)}
    for block in range(2):
        name = f"blocks.{block}"
        found |= norm(f"{name}.norm1") | norm(f"{name}.norm2") | linear(f"{name}.attn.qkv", 3 * DIM, DIM)
        found |= linear(f"{name}.attn.proj", DIM, DIM)
        if block == 0:
            found |= linear(f"{name}.mlp.fc1", HIDDEN, DIM) | linear(f"{name}.mlp.fc2", DIM, HIDDEN)
    found |= {f"blocks.1.mlp.experts.{name}": value for name, value in (
        ("htoh4.weight", draw(EXPERTS, OWN, DIM)), ("htoh4.bias", draw(EXPERTS, OWN)),
        ("h4toh.weight", draw(EXPERTS, DIM, OWN)), ("h4toh.bias", draw(EXPERTS, DIM)))}
    gates = [f"blocks.1.mlp.gate.{task}." for task in range(2)] if not shared else ["blocks.1.mlp.gate."]
    for gate in gates:
        found[f"{gate}w_gate"] = draw(DIM + shared, EXPERTS)
        if noisy:
            found[f"{gate}w_noise"] = draw(DIM, EXPERTS)
    if shared:
        found |= linear("gate_task_represent.fc1", shared, 2) | linear("gate_task_represent.fc2", shared, shared)
        found |= norm("gate_task_represent.norm", shared)
    return {name: value.to(dtype) for name, value in found.items()}


def forward(part: dict[str, torch.Tensor], noisy=False, top_k=2):
    """M3ViT's backbone: images (B, 3, H, W), task -> tokens of the last block."""

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], part[f"{name}.weight"], part[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return F.linear(x, part[f"{name}.weight"], part[f"{name}.bias"])

    def attention(x, name):
        q, k, v = linear(x, f"{name}.qkv").reshape(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (DIM // HEADS) ** -0.5).softmax(-1)
        return linear((weights @ v).transpose(1, 2).flatten(2), f"{name}.proj")

    def gate(x, name, task):
        if f"{name}.{task}.w_gate" in part:
            return x @ part[f"{name}.{task}.w_gate"]
        feature = linear(F.gelu(linear(torch.eye(2)[task], "gate_task_represent.fc1")), "gate_task_represent.fc2")
        feature = norm(feature, "gate_task_represent.norm").expand(*x.shape[:-1], -1)
        return torch.cat([x, feature], -1) @ part[f"{name}.w_gate"]

    def moe(x, name, task):
        logits = gate(x, f"{name}.gate", task)
        scores, index = (logits if noisy else logits.softmax(-1)).topk(top_k)
        scores = scores.softmax(-1) if noisy else scores
        weight = {name: part[f"blocks.1.mlp.experts.{name}"] for name in ("htoh4.weight", "htoh4.bias", "h4toh.weight",
                                                                         "h4toh.bias")}
        hidden = F.gelu(torch.einsum("bnd,ehd->bneh", x, weight["htoh4.weight"]) + weight["htoh4.bias"])
        every = torch.einsum("bneh,edh->bned", hidden, weight["h4toh.weight"]) + weight["h4toh.bias"]
        return (every.gather(2, index[..., None].expand(-1, -1, -1, DIM)) * scores[..., None]).sum(2)

    def run(images, task):
        x = F.conv2d(images, part["patch_embed.proj.weight"], part["patch_embed.proj.bias"], stride=PATCH)
        x = torch.cat([part["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + part["pos_embed"]
        for block in range(2):
            name = f"blocks.{block}"
            x = x + attention(norm(x, f"{name}.norm1"), f"{name}.attn")
            y = norm(x, f"{name}.norm2")
            x = x + (moe(y, f"{name}.mlp", task) if block else
                     linear(F.gelu(linear(y, f"{name}.mlp.fc1")), f"{name}.mlp.fc2"))
        return x

    return run


def saved(path, tensors, front="module.backbone.", **beside):
    """A file as train_fastmoe.py saves it: the state dict under a key, beside decoders and numbers of the training."""
    content = {front + name: value for name, value in tensors.items()}
    torch.save({"state_dict": content | beside, "epoch": 3}, path / "m3vit.pth")
    return path / "m3vit.pth"


@pytest.mark.parametrize("noisy", [False, True], ids=["noisy_vmoe", "noisy"])
def test_a_gate_per_task(tmp_path, noisy):
    tensors = m3vit(noisy)
    imported = import_checkpoint(saved(tmp_path, tensors), **ASKED)
    network = imported.network
    assert network.tasks == TASKS and network.moe_blocks == (1,) and network.renormalise == noisy
    assert (network.experts, network.expert_hidden, network.top_k) == (EXPERTS, OWN, 2)
    assert_task_tokens(imported, forward(tensors, noisy))
    assert any("w_noise" in note for note in imported.report.notes["dropped"]) == noisy


def test_integer_model_runs_on_the_machine(tmp_path):
    assert_integer_equals_machine(import_checkpoint(saved(tmp_path, m3vit()), **ASKED))


def test_a_shared_gate_with_task_embeddings(tmp_path):
    tensors = m3vit(shared=6)
    imported = import_checkpoint(saved(tmp_path, tensors), **ASKED)
    assert imported.tensors["blocks.1.moe.gate.bias"].shape == (2, EXPERTS)
    assert_task_tokens(imported, forward(tensors))


def test_experts_one_by_one(tmp_path):
    tensors = m3vit()
    for name in [name for name in tensors if ".experts." in name]:
        for expert, value in enumerate(tensors[name]):
            for theirs, own in (("experts.htoh4", f"experts.{expert}.fc1"), ("experts.h4toh", f"experts.{expert}.fc2")):
                if theirs in name:
                    tensors[name.replace(theirs, own)] = value
    one_by_one = {name: value for name, value in tensors.items() if "htoh4" not in name and "h4toh" not in name}
    assert_task_tokens(import_checkpoint(saved(tmp_path, one_by_one), **ASKED), forward(tensors))


@pytest.mark.parametrize("transposed", [False, True])
def test_gates_of_one_tensor(tmp_path, transposed):
    """Experts one by one and gates (tasks, dim, experts), under moevit's names."""
    tensors = m3vit()
    gates = torch.stack([tensors.pop(f"blocks.1.mlp.gate.{task}.w_gate") for task in range(2)])
    content = {name.replace("blocks.1.mlp", "blocks.1.moe"): value for name, value in tensors.items()}
    content["blocks.1.moe.gate.weight"] = gates if transposed else gates.transpose(1, 2).contiguous()
    with pytest.raises(NeedsOption, match="softmax over its top k or over all"):
        import_checkpoint(saved(tmp_path, content), **ASKED)
    imported = import_checkpoint(saved(tmp_path, content), **ASKED, renormalise=False)
    assert_task_tokens(imported, forward(m3vit()))


def test_our_own_file_with_experts_one_by_one_and_gates_transposed(tmp_path):
    network = NETWORKS["tiny_test"]
    want = {name: torch.from_numpy(value) for name, value in synthetic_checkpoint(network, 1).items()}
    tensors = {}
    for name, value in want.items():
        if ".experts." in name:
            tensors |= {name.replace("experts", f"experts.{expert}"): each.clone() for expert, each in enumerate(value)}
        else:
            tensors[name] = value.transpose(1, 2).contiguous() if name.endswith("gate.weight") else value
    path = tmp_path / "own.safetensors"
    save_file(tensors, path, metadata={"network": json.dumps(asdict(network))})
    imported = import_checkpoint(path)
    for name, value in want.items():
        torch.testing.assert_close(imported.tensors[name], value, rtol=1e-6, atol=0, msg=name)


def test_decoders_are_left_out_and_half_precision_is_said(tmp_path):
    decoder = {"module.decoders.semseg.conv_0.weight": torch.zeros(4, DIM, 3, 3),
               "module.decoders.semseg.syncbn_fc_0.running_mean": torch.zeros(4)}
    imported = import_checkpoint(saved(tmp_path, m3vit(dtype=torch.float16), **decoder), **ASKED)
    assert any("decoders.semseg.conv_0.weight" in note for note in imported.report.notes["dropped"])
    assert any("float16" in note for note in imported.report.notes["read"])
    assert_task_tokens(imported, forward({name: value.float() for name, value in m3vit(dtype=torch.float16).items()}))


@pytest.mark.parametrize("missing, option", [("heads", "--heads"), ("top_k", "--top-k"), ("tasks", "--tasks"),
                                             ("grid", "--grid"), ("normalise", "--normalise")])
def test_what_no_tensor_says_is_asked_for(tmp_path, missing, option):
    asked = {name: value for name, value in ASKED.items() if name != missing}
    with pytest.raises(NeedsOption) as error:
        import_checkpoint(saved(tmp_path, m3vit()), **asked)
    assert error.value.options == (option,)


def test_experts_of_one_rank_alone_are_refused(tmp_path):
    tensors = {name: value[:2] if ".experts." in name else value for name, value in m3vit().items()}
    with pytest.raises(BadTensor, match="choose among 4 experts, but 2 are in the file"):
        import_checkpoint(saved(tmp_path, tensors), **ASKED)


def test_a_missing_expert_is_named(tmp_path):
    tensors = m3vit()
    stacked = tensors.pop("blocks.1.mlp.experts.htoh4.weight")
    tensors |= {f"blocks.1.mlp.experts.{expert}.htoh4.weight": stacked[expert] for expert in (0, 1, 3)}
    with pytest.raises(MissingTensor, match=r"htoh4.weight: experts \[0, 1, 3\] are there"):
        import_checkpoint(saved(tmp_path, tensors), **ASKED)


def of_published(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Two published blocks of m3vit_tiny under M3ViT's names. The unpublished matrices of the experts are zeros.

    Row 0 of the published positions contains the class token.
    """
    found = {"cls_token": np.zeros((1, 1, 192), np.float32), "pos_embed": weights["pos_embed"][None],
             "blocks.1.mlp.experts.htoh4.weight": np.zeros((16, 384, 192), np.float32),
             "blocks.1.mlp.experts.h4toh.weight": np.zeros((16, 192, 384), np.float32)}
    for name, value in weights.items():
        name = name.replace("patch_embed_", "patch_embed.proj.")
        block, _, rest = name.partition("_")
        if rest.startswith("w_gate") and block == "l1":
            found[f"blocks.1.mlp.gate.{rest[-1]}.w_gate"] = value.T.copy()
        elif name.startswith("patch_embed"):
            found[name] = value
        elif block in ("l0", "l1"):
            part, _, kind = rest.rpartition("_")
            place = {"qkv": "attn.qkv", "attn_proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
                     "htoh4": "mlp.experts.htoh4", "h4toh": "mlp.experts.h4toh"}.get(part, part)
            found[f"blocks.{block[1]}.{place}.{kind}"] = value
    return {name: torch.from_numpy(value) for name, value in found.items()}


def test_published_weights(tmp_path):
    """On the published part of m3vit_tiny, the float model gives the published intermediates."""
    published = find_published()
    if published is None:
        pytest.skip(f"{FOLDER} has no published weights: they are not part of the repository")
    path = saved(tmp_path, of_published(published.weights))
    imported = import_checkpoint(path, heads=3, top_k=2, image=(128, 256), tasks=TASKS, mean=(0.0, 0.0, 0.0),
                                 std=(256 / 255,) * 3)  # trained on pixels / 256
    model = load_state(imported.network, imported.tensors)
    for task in range(2):
        trace = model.trace(pixels(published.image[None]), task)
        for ours, theirs in (("x_embed", "x_embed"), ("0.x_post_mlp", "l0_x_post_mlp"), ("1.norm2", "l1_norm2"),
                             ("1.gate_logits", f"l1_gate_logits_task{task}")):
            assert_same(trace[ours][0], torch.from_numpy(published.golden[theirs]))
        np.testing.assert_array_equal(trace["1.top_k_index"][0].numpy(), published.golden[f"l1_top2_idx_task{task}"])
