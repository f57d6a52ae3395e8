# SPDX-License-Identifier: Apache-2.0
"""What happens inside a frame, which only the integer model shows: routes, attention, and what the integers lose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moevit.golden.integer.model import Frame, IntegerModel
from moevit.golden.integer.softmax import exponentials
from moevit.spec.quantised import QuantisedModel

if TYPE_CHECKING:
    from moevit.golden.quant.fidelity import Fidelity

__all__ = ["Inside", "beside", "lost", "look_inside"]

_MAPS = 16  # attention maps of single heads at most; more are drawn as the mean of the heads of a block


@dataclass
class Inside:
    """Of one picture. ``loads``: tokens (MoE blocks, experts) by task; ``experts`` and ``attention``: maps (rows,
    columns) of the patches by caption; ``query``: the patch whose attention it is, None for the class token."""

    image: np.ndarray | None = None
    loads: dict[str, np.ndarray] = field(default_factory=dict)
    experts: dict[str, np.ndarray] = field(default_factory=dict)
    attention: dict[str, np.ndarray] = field(default_factory=dict)
    query: tuple[int, int] | None = None
    tokens: dict[str, np.ndarray] = field(default_factory=dict)


def beside(bundle: Path) -> Path | None:
    """The quantised model that lies beside a bundle: of its name, as `moevit build` writes it, else model.npz."""
    return next((path for path in (bundle.with_suffix(".npz"), bundle.with_name("model.npz")) if path.exists()), None)


def look_inside(model: QuantisedModel, image: np.ndarray, task: str, query: tuple[int, int] | None = None) -> Inside:
    """Run one u8 picture (height, width, 3) for every task. Attention is that of ``task`` and of the patch ``query``;
    left out, of the class token if a head reads it, else of the patch in the middle."""
    network, integer = model.network, IntegerModel(model)
    found = Inside(image)
    grid = network.height // network.patch, network.width // network.patch
    blocks = [block for block in range(network.depth) if network.is_moe(block)]
    for index, name in enumerate(network.tasks):
        frame = integer.run(image, index)
        found.tokens[name] = frame.tokens
        chosen = {block: model[f"blocks.{block}.moe.order"][frame.trace[f"{block}.top_k_index"]] for block in blocks}
        if blocks:
            found.loads[name] = np.array([np.bincount(each.ravel(), minlength=network.experts)
                                          for each in chosen.values()])
        for block, each in chosen.items():
            found.experts[f"{name}, block {block}"] = each[network.prefix_tokens:, 0].reshape(grid)
        if name == task:
            read = any(head.get("pool") == "cls" for head in model.host.get("heads", {}).values())
            found.query = query or (None if read and network.prefix_tokens else (grid[0] // 2, grid[1] // 2))
            found.attention = _attention(model, frame, grid, found.query)
    return found


def _attention(model: QuantisedModel, frame: Frame, grid: tuple[int, int],
               query: tuple[int, int] | None) -> dict[str, np.ndarray]:
    network = model.network
    row = network.prefix_tokens + query[0] * grid[1] + query[1] if query else 0
    found: dict[str, np.ndarray] = {}
    for block in range(network.depth):
        maps = []
        for logits in frame.trace[f"{block}.attn_logits"]:
            weights = exponentials(logits[row:row + 1], logits[row:row + 1].max(axis=1), network.tokens)[0]
            maps.append((weights / max(1, weights.sum()))[network.prefix_tokens:].reshape(grid))
        if network.depth * network.heads <= _MAPS:
            found |= {f"block {block}, head {head}": each for head, each in enumerate(maps)}
        else:
            found[f"block {block}, mean"] = np.mean(maps, axis=0)
    return found


def lost(model: QuantisedModel, checkpoint: Path, images: np.ndarray) -> "tuple[Fidelity, tuple[str, ...]]":
    """Fidelity and warnings on u8 ``images``. Raises CheckpointError, OSError, ModuleNotFoundError without torch."""
    from moevit.golden.quant.fidelity import compare
    from moevit.golden.quant.verdict import verdict
    from moevit.golden.reference import load_state, read

    network, tensors, _ = read(checkpoint)
    found = compare(load_state(network, tensors), model, images)
    arrays: Mapping[str, np.ndarray] = {name: tensor.numpy() for name, tensor in tensors.items()}
    return found, verdict(model, arrays, found).warnings
