# SPDX-License-Identifier: Apache-2.0
"""A network with weights, images, and the tokens that must come out."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moevit import golden, spec
from moevit.estimator.loads import expert_loads
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.balance import balance
from moevit.golden.quant.images import photographs
from moevit.golden.quant.published import BLOCKS, find_published, overlay
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.kit.npz import read_npz, write_npz
from moevit.spec.networks import NETWORKS, Network
from moevit.spec.quantised import QuantisedModel

__all__ = ["Case", "make_case"]

SEED = 1
TASK = 0
CALIBRATION = 8  # photographs; the measured images are not among them


class Case(NamedTuple):
    """``images`` u8 (batch, H, W, 3) give ``tokens`` s16 (batch, N, D). ``weights`` names the origin of the weights.

    ``loads``: the tokens of each expert over all images, by MoE block, in the quantised model's order of experts.
    """

    model: QuantisedModel
    images: np.ndarray
    tokens: np.ndarray
    loads: dict[int, list[int]]
    weights: str


def make_case(network: Network, batch: int, folder: Path) -> Case:
    """Quantised weights for ``network``, and the integer model's tokens of ``batch`` images for its first task.

    Weights are synthetic, with gates tuned to the loads of ``estimator.loads``. If the published part of m3vit_tiny is
    present, it replaces the synthetic one. The case is kept in ``folder`` until the sources change.
    """
    published = find_published() if network == NETWORKS["m3vit_tiny"] else None
    weights = "synthetic weights" if published is None else "published in blocks 0 and 1, but for expert matrices"
    key = _digest([asdict(network), batch, weights])
    model_file, arrays_file = folder / f"{network.name}-{key}-model.npz", folder / f"{network.name}-{key}-tokens.npz"
    if model_file.exists() and arrays_file.exists():
        arrays = read_npz(arrays_file)
        return Case(QuantisedModel.load(model_file), arrays["images"], arrays["tokens"], _by_block(arrays["loads"]),
                    weights)
    photos = photographs(network, CALIBRATION + batch, seed=SEED)
    images = photos[CALIBRATION:]
    tensors, kept = synthetic_checkpoint(network, SEED), range(0)
    if published is not None:
        images[0] = published.image
        tensors, kept = overlay(network, tensors, published), range(BLOCKS)
    tensors = balance(network, tensors, images[0], expert_loads, kept)
    model = quantise(network, tensors, photos[:CALIBRATION], compensate=False)
    integer = IntegerModel(model)
    frames = [integer.run(image, TASK) for image in images]
    tokens = np.stack([frame.tokens for frame in frames]).astype(np.int16)
    loads = np.zeros((network.depth, network.experts), np.int64)
    for block in filter(network.is_moe, range(network.depth)):
        for frame in frames:
            loads[block] += np.bincount(frame.trace[f"{block}.top_k_index"].ravel(), minlength=network.experts)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(model_file)
    partial = arrays_file.with_suffix(".partial")
    write_npz(partial, {"images": images, "tokens": tokens, "loads": loads})
    partial.replace(arrays_file)  # renamed last: if it exists, both files are complete
    return Case(model, images, tokens, _by_block(loads), weights)


def _by_block(loads: np.ndarray) -> dict[int, list[int]]:
    return {block: row.tolist() for block, row in enumerate(loads) if row.any()}


def _digest(choices: object) -> str:
    digest = hashlib.sha256(json.dumps(choices).encode())
    for package in (golden, spec):
        for path in sorted(Path(next(iter(package.__path__))).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:20]
