# SPDX-License-Identifier: Apache-2.0
"""The published part of m3vit_tiny: block 0, and block 1 without the weight matrices of its experts.

It is not part of the repository. It is two files in ``$MOEVIT_SHARED/data``, or in ``data`` of a folder ``shared``
beside the checkout.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moevit.spec.networks import Network

__all__ = ["BLOCKS", "FOLDER", "Published", "find_published", "overlay"]

#: The number of blocks that are published in part.
BLOCKS = 2
FOLDER = Path(os.environ.get("MOEVIT_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
_FILES = "m3vit_tiny_layers0-3.npz", "m3vit_tiny_golden.npz"


class Published(NamedTuple):
    """Weights under the names in their files, the image u8 (H, W, 3), and the float intermediates that belong to it."""

    weights: dict[str, np.ndarray]
    image: np.ndarray
    golden: dict[str, np.ndarray]


def find_published(folder: Path = FOLDER) -> Published | None:
    """The published files, or None if they are not present."""
    paths = [folder / name for name in _FILES]
    if not all(path.exists() for path in paths):
        return None
    weights, golden = (dict(np.load(path)) for path in paths)
    image = np.rint(weights["image"] * 256).astype(np.uint8).transpose(1, 2, 0)
    return Published(weights, np.ascontiguousarray(image), golden)


def overlay(network: Network, tensors: Mapping[str, np.ndarray], published: Published) -> dict[str, np.ndarray]:
    """``tensors`` of a network in m3vit_tiny's shape, with the published ones in their places."""
    weights, result = published.weights, dict(tensors)
    result["patch_embed.proj.weight"] = weights["patch_embed_weight"]
    result["patch_embed.proj.bias"] = weights["patch_embed_bias"]
    result["pos_embed"] = weights["pos_embed"][None]
    result["prefix_tokens"] = np.zeros_like(tensors["prefix_tokens"])  # row 0 of the positions contains it
    for block in range(BLOCKS):
        parts = {"norm1": "norm1", "norm2": "norm2", "attn.qkv": "qkv", "attn.proj": "attn_proj"}
        if not network.is_moe(block):
            parts |= {"mlp.fc1": "fc1", "mlp.fc2": "fc2"}
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                result[f"blocks.{block}.{ours}.{kind}"] = weights[f"l{block}_{theirs}_{kind}"]
    result["blocks.1.moe.gate.weight"] = np.stack([weights[f"l1_w_gate_T_task{task}"] for task in range(2)])
    result["blocks.1.moe.gate.bias"] = np.zeros((2, network.experts), np.float32)
    result["blocks.1.moe.experts.fc1.bias"] = weights["l1_htoh4_bias"]
    result["blocks.1.moe.experts.fc2.bias"] = weights["l1_h4toh_bias"]
    return result
