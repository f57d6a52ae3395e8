# SPDX-License-Identifier: Apache-2.0
"""The float model against the published M3ViT-tiny weights and intermediates.

They contain block 0, and block 1 without the experts' matrices. The comparison ends at block 1's gate.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moevit.golden.quant.published import FOLDER
from moevit.golden.reference import load_state
from moevit.spec.networks import NETWORKS

WEIGHTS = FOLDER / "m3vit_tiny_layers0-3.npz"
GOLDEN = FOLDER / "m3vit_tiny_golden.npz"
NETWORK = replace(NETWORKS["m3vit_tiny"], depth=2)
ATTENTION = ("norm1", "q", "k", "v", "attn_logits", "attn_probs", "attn_out", "attn_proj", "x_post_attn", "norm2")
DENSE = ("fc1", "gelu", "fc2", "x_post_mlp")
TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(
    not (WEIGHTS.exists() and GOLDEN.exists()),
    reason=f"the published weights are not here: put {WEIGHTS.name} and {GOLDEN.name} into {WEIGHTS.parent}",
)


def tensors_from_m3vit(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Tensors of NETWORK from arrays named as in the published file. Absent expert matrices become zeros.

    Row 0 of the positions contains CLS.
    """
    own = {
        "patch_embed.proj.weight": arrays["patch_embed_weight"],
        "patch_embed.proj.bias": arrays["patch_embed_bias"],
        "pos_embed": arrays["pos_embed"][None],
        "prefix_tokens": np.zeros((1, 1, NETWORK.dim), np.float32),
    }
    for block in range(NETWORK.depth):
        theirs, ours = f"l{block}_", f"blocks.{block}."
        names = {"qkv": "attn.qkv", "attn_proj": "attn.proj", "norm1": "norm1", "norm2": "norm2"}
        if NETWORK.is_moe(block):
            gates = [arrays[f"{theirs}w_gate_T_task{task}"] for task in range(len(NETWORK.tasks))]
            own[f"{ours}moe.gate.weight"] = np.stack(gates)
            sizes = (NETWORK.experts, NETWORK.expert_hidden, NETWORK.dim)
            own[f"{ours}moe.experts.fc1.weight"] = np.zeros(sizes, np.float32)
            own[f"{ours}moe.experts.fc2.weight"] = np.zeros((sizes[0], sizes[2], sizes[1]), np.float32)
            own[f"{ours}moe.experts.fc1.bias"] = arrays[f"{theirs}htoh4_bias"]
            own[f"{ours}moe.experts.fc2.bias"] = arrays[f"{theirs}h4toh_bias"]
        else:
            names |= {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
        for their_name, our_name in names.items():
            for part in ("weight", "bias"):
                own[f"{ours}{our_name}.{part}"] = arrays[f"{theirs}{their_name}_{part}"]
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in own.items()}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module", params=range(len(NETWORK.tasks)), ids=NETWORK.tasks)
def traced(request) -> tuple[int, dict[str, torch.Tensor]]:
    arrays = dict(np.load(WEIGHTS))
    model = load_state(NETWORK, tensors_from_m3vit(arrays))
    return request.param, model.trace(torch.from_numpy(arrays["image"])[None], request.param)


def compare(trace: dict[str, torch.Tensor], name: str, expected: np.ndarray) -> None:
    value = trace[name][0].numpy()
    assert value.shape == expected.shape
    error = np.abs(value - expected).max()
    assert error <= TOLERANCE, f"{name} is off by {error}"


def test_patch_embedding(traced, golden):
    for name in ("patch_tokens", "x_embed"):
        compare(traced[1], name, golden[name])


def test_dense_block(traced, golden):
    for name in ATTENTION + DENSE:
        compare(traced[1], f"0.{name}", golden[f"l0_{name}"])


def test_attention_before_experts(traced, golden):
    for name in ATTENTION:
        compare(traced[1], f"1.{name}", golden[f"l1_{name}"])


def test_gate(traced, golden):
    task, trace = traced
    compare(trace, "1.gate_logits", golden[f"l1_gate_logits_task{task}"])
    compare(trace, "1.gate_probs", golden[f"l1_gate_probs_task{task}"])
    compare(trace, "1.top_k_score", golden[f"l1_top2_val_task{task}"])
    np.testing.assert_array_equal(trace["1.top_k_index"][0].numpy(), golden[f"l1_top2_idx_task{task}"])
