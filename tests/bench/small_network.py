# SPDX-License-Identifier: Apache-2.0
"""A small network in place of the real one: its checkpoint, and the float reference as the original network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load, load_state, pixels
from moevit.golden.reference.checkpoint import save
from moevit.spec.networks import Network

NETWORK = Network(name="vit", height=16, width=32, patch=8, dim=32, heads=2, depth=2, hidden=64, final_norm=True)


class Reference:
    """The float reference in place of the original network."""

    key, prefix_tokens = "reference", 1

    def __init__(self, checkpoint: Path):
        self.model = load(checkpoint)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model(pixels(images)).numpy()


def write_checkpoint(folder: Path, host: dict[str, Any] | None = None) -> Path:
    """The checkpoint of `NETWORK` in ``folder``, with the head ``features``. ``host`` goes into its metadata."""
    tensors = {name: torch.from_numpy(value) for name, value in synthetic_checkpoint(NETWORK, 1).items()}
    heads = {f"heads.features.norm.{part}": tensors[f"norm.{part}"] for part in ("weight", "bias")}
    path = folder / "vit.safetensors"
    save(path, load_state(NETWORK, tensors), heads,
         {**(host or {}), "heads": {"features": {"pool": "patches", "norm": "tokens"}}})
    return path
