# SPDX-License-Identifier: Apache-2.0
"""The loss of quality from quantising the demo model, on scenes that it has not seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moevit.golden.demo.compare import metric, predictions
from moevit.golden.demo.heads import Heads
from moevit.golden.demo.scenes import Scenes
from moevit.golden.integer.model import IntegerModel
from moevit.golden.reference import CheckpointError, checkpoint, pixels
from moevit.spec.networks import NETWORKS, Network
from moevit.spec.quantised import QuantisedModel

__all__ = ["METRICS", "score"]

METRICS = {"semseg": "miou", "depth": "rmse"}


def score(weights: Path, model: QuantisedModel, count: int,
          watch: Callable[[str], None] = lambda task: None) -> dict[str, Any]:
    """Metrics of float and integer tokens on test scenes ``0 .. count - 1``, the SQNR of the tokens, and saturated
    values.

    ``same_experts`` is the share of a block's tokens, over both tasks, that float and integer model send to the same
    experts. ``watch`` is called with the task after each scene. Raises CheckpointError, OSError.
    """
    reference, network = checkpoint.load(weights), model.network
    for each in (reference.network, network):
        if each != NETWORKS["demo"]:
            raise CheckpointError(f"scenes are for network demo, not for {each.name}: take a model and weights of it")
    heads = Heads(network)
    heads.load_tensors(checkpoint.read(weights).tensors)
    images, semseg, depth = Scenes("test").batch(0, count)
    labels: tuple[np.ndarray, ...] = (semseg, depth)
    integer = IntegerModel(model)
    result: dict[str, Any] = {"network": network.name, "scenes": count, "residual_fraction": model.residual_fraction}
    saturated = values = 0
    same: dict[int, list[np.ndarray]] = {block: [] for block in range(network.depth) if network.is_moe(block)}
    for index, (task, label) in enumerate(zip(network.tasks, labels, strict=True)):
        tokens: dict[str, list[np.ndarray]] = {"float": [], "integer": []}
        for image in images:
            with torch.no_grad():
                trace = reference.trace(pixels(image[None]), index)
            frame = integer.run(image, index)
            tokens["float"].append(trace["tokens"][0].numpy())
            tokens["integer"].append((frame.tokens * 2.0**-model.residual_fraction).astype(np.float32))
            saturated += sum(frame.saturated.values())
            values += _written(network)
            for block, found in same.items():
                pair = (np.sort(model[f"blocks.{block}.moe.order"][frame.trace[f"{block}.top_k_index"]]),
                        np.sort(trace[f"{block}.top_k_index"][0].numpy()))
                found.append((pair[0] == pair[1]).all(axis=1))
            watch(task)
        rungs = {rung: np.stack(each) for rung, each in tokens.items()}
        noise = np.square(rungs["float"] - rungs["integer"]).sum(dtype=np.float64)
        signal = np.square(rungs["float"]).sum(dtype=np.float64)
        result[task] = {METRICS[task]: {rung: metric(predictions(heads, each, task), label, task)
                                        for rung, each in rungs.items()},
                        "tokens_sqnr_db": round(float(10 * np.log10(signal / noise)), 2)}
    result["same_experts"] = {str(block): float(np.mean(found)) for block, found in same.items()}
    result["saturated"] = {"values": saturated, "of": values}
    return result


def _written(network: Network) -> int:
    """The number of values that the passes of one frame write."""
    attention = network.tokens * (5 * network.dim + network.heads * network.tokens)
    dense = network.tokens * (network.hidden + network.dim)
    experts = network.tokens * network.top_k * (network.expert_hidden + network.dim)
    blocks = (attention + (experts if network.is_moe(block) else dense) for block in range(network.depth))
    return network.patches * network.dim + sum(blocks)
