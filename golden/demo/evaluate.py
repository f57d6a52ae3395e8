# SPDX-License-Identifier: Apache-2.0
"""Metrics of a float model on scenes that it has not seen."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from moevit.golden.reference import M3ViT, pixels

from .heads import Heads
from .scenes import CLASSES, Scenes

__all__ = ["Metrics", "confusion_matrix", "evaluate", "mean_iou"]

_BATCH = 32


@dataclass
class Metrics:
    """Metrics over ``scenes`` scenes.

    ``miou``: the mean over classes of intersection over union, from one confusion matrix of all patches.
    ``depth_rmse``: the root mean square error over all patches; ``constant_rmse`` is that of the best constant.
    ``expert_load[block][task]`` counts the (token, rank) pairs of each expert. ``residual_max``: the largest magnitude
    of the residual rows after any block.
    """

    scenes: int
    miou: float
    iou: list[float]
    accuracy: float
    depth_rmse: float
    constant_rmse: float
    residual_max: float
    expert_load: dict[str, dict[str, list[int]]] = field(default_factory=dict)


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Counts [label, prediction] of two int64 tensors of the same shape."""
    return torch.bincount(labels.flatten() * classes + predictions.flatten(), minlength=classes**2).view(classes, -1)


def mean_iou(confusion: Tensor) -> tuple[float, list[float]]:
    """Mean and per-class intersection over union. A class that is neither labelled nor predicted is nan and not
    averaged."""
    hits = confusion.diagonal().double()
    iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    return iou.nanmean().item(), iou.tolist()


@torch.no_grad()
def evaluate(model: M3ViT, heads: Heads, scenes: Scenes, count: int) -> Metrics:
    """Run both tasks on scenes ``0 .. count - 1``."""
    confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64)
    errors, depths, residual = [], [], 0.0
    moe_blocks = [index for index in range(model.network.depth) if model.network.is_moe(index)]
    load = {(b, t): torch.zeros(model.network.experts, dtype=torch.int64)
            for b in moe_blocks for t in model.network.tasks}
    for start in range(0, count, _BATCH):
        images, semseg, depth = scenes.batch(start, min(_BATCH, count - start))
        for task in model.network.tasks:
            trace = model.trace(pixels(images), task)
            outputs = heads(trace["tokens"], task)
            if task == "semseg":
                confusion += confusion_matrix(torch.from_numpy(semseg), outputs.argmax(-1), len(CLASSES))
            else:
                depths.append(torch.from_numpy(depth))
                errors.append(outputs.squeeze(-1) - depths[-1])
            for block in moe_blocks:
                load[block, task] += trace[f"{block}.top_k_index"].flatten().bincount(minlength=model.network.experts)
            residual = max([residual, *(trace[f"{b}.x_post_mlp"].abs().max().item()
                                        for b in range(model.network.depth))])
    miou, iou = mean_iou(confusion)
    return Metrics(
        scenes=count, miou=miou, iou=iou, accuracy=(confusion.diagonal().sum() / confusion.sum()).item(),
        depth_rmse=torch.cat(errors).square().mean().sqrt().item(),
        constant_rmse=torch.cat(depths).std(correction=0).item(), residual_max=residual,
        expert_load={str(b): {t: load[b, t].tolist() for t in model.network.tasks} for b in moe_blocks},
    )
