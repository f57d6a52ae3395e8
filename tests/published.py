# SPDX-License-Identifier: Apache-2.0
"""The published part of m3vit_tiny: all of block 0, and of block 1 all but the experts' matrices."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.spec.networks import NETWORKS, Network

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("MOEVIT_SHARED", ROOT.parent / "shared")) / "data"


class Published(NamedTuple):
    """Two blocks of m3vit_tiny, its image u8 (H, W, 3), and the float intermediates that came with it."""

    network: Network
    tensors: dict[str, np.ndarray]
    image: np.ndarray
    golden: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def published() -> Published:
    files = SHARED / "m3vit_tiny_layers0-3.npz", SHARED / "m3vit_tiny_golden.npz"
    for file in files:
        if not file.exists():
            pytest.skip(f"{file} is not there: the published weights are not part of the repository")
    weights, golden = (dict(np.load(file)) for file in files)
    network = dataclasses.replace(NETWORKS["m3vit_tiny"], depth=2)
    image = np.rint(weights["image"] * 256).astype(np.uint8).transpose(1, 2, 0)
    return Published(network, _named(network, weights), np.ascontiguousarray(image), golden)


def _named(network: Network, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tensors = synthetic_checkpoint(network, seed=1)  # what remains of it are the experts' matrices
    tensors["patch_embed.proj.weight"] = weights["patch_embed_weight"]
    tensors["patch_embed.proj.bias"] = weights["patch_embed_bias"]
    tensors["pos_embed"] = weights["pos_embed"][None]
    tensors["cls_token"] = np.zeros_like(tensors["cls_token"])  # row 0 of the positions contains it
    for block in range(network.depth):
        parts = {"norm1": "norm1", "norm2": "norm2", "attn.qkv": "qkv", "attn.proj": "attn_proj"}
        if not network.is_moe(block):
            parts |= {"mlp.fc1": "fc1", "mlp.fc2": "fc2"}
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                tensors[f"blocks.{block}.{ours}.{kind}"] = weights[f"l{block}_{theirs}_{kind}"]
    tensors["blocks.1.moe.gate.weight"] = np.stack([weights[f"l1_w_gate_T_task{task}"] for task in range(2)])
    tensors["blocks.1.moe.gate.bias"] = np.zeros((2, network.experts), np.float32)
    tensors["blocks.1.moe.experts.fc1.bias"] = weights["l1_htoh4_bias"]
    tensors["blocks.1.moe.experts.fc2.bias"] = weights["l1_h4toh_bias"]
    return tensors
