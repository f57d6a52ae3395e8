# SPDX-License-Identifier: Apache-2.0
"""Float, integer and RTL side by side: metrics and pictures."""

from pathlib import Path

import matplotlib
import numpy as np
import torch

from moevit.kit.npz import NpzError, read_npz
from moevit.report.colours import DEPTH, class_map, value_map
from moevit.spec.networks import Network

from .evaluate import confusion_matrix, mean_iou
from .heads import Heads
from .scenes import CLASSES

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

__all__ = ["METRICS", "RUNGS", "metric", "picture", "predictions", "read_rungs"]

RUNGS = ("float", "integer", "rtl")
METRICS = {"semseg": "mIoU", "depth": "RMSE"}


def predictions(heads: Heads, tokens: np.ndarray, task: str) -> np.ndarray:
    """Classes or depths (S, patches) from tokens f32 (S, N, D)."""
    with torch.no_grad():
        outputs = heads(torch.from_numpy(np.ascontiguousarray(tokens)), task)
    return (outputs.argmax(-1) if task == "semseg" else outputs.squeeze(-1)).numpy()


def metric(predicted: np.ndarray, labels: np.ndarray, task: str) -> float:
    """Mean IoU of classes, or root mean square error of depths."""
    if task == "semseg":
        return mean_iou(confusion_matrix(torch.from_numpy(labels), torch.from_numpy(predicted), len(CLASSES)))[0]
    return float(np.sqrt(np.mean((predicted - labels) ** 2)))


def picture(image: np.ndarray, label: np.ndarray, outputs: dict[str, np.ndarray], difference: np.ndarray, task: str,
            grid: tuple[int, int], path: Path) -> None:
    """Draw one scene: input, label, the output of each rung, and integer minus RTL over tokens and channels (black is
    0)."""
    limits = {"vmin": 0, "vmax": len(CLASSES) - 1, "cmap": class_map(len(CLASSES))} if task == "semseg" else {
        "vmin": 0, "vmax": 1, "cmap": value_map(DEPTH)}
    figure, axes = plt.subplots(1, 3 + len(outputs), figsize=(3.2 * (3 + len(outputs)), 2.6))
    axes[0].imshow(image)
    axes[0].set_title("input")
    for axis, (name, patches) in zip(axes[1:], {"label": label, **outputs}.items(), strict=False):
        axis.imshow(patches.reshape(grid), interpolation="nearest", **limits)
        axis.set_title(name)
    axes[-1].imshow(np.abs(difference), cmap="gray", vmin=0, vmax=max(1, int(np.abs(difference).max())), aspect="auto")
    axes[-1].set_title(f"integer - RTL: {np.count_nonzero(difference)} differ")
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(task)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def read_rungs(network: Network, scenes: Path, rtl: Path) -> dict[str, np.ndarray]:
    """The arrays of both files. Raises NpzError if one is missing or has another shape."""
    arrays = {**read_npz(scenes), **read_npz(rtl)}
    count, tokens = len(arrays.get("images", ())), (network.tokens, network.dim)
    wanted: dict[str, tuple[int, ...]] = {task: (count, network.patches) for task in network.tasks}
    wanted |= {f"{rung}_{task}": (count, *tokens) for rung in RUNGS for task in network.tasks}
    for name, shape in wanted.items():
        if name not in arrays or arrays[name].shape != shape:
            found = list(arrays[name].shape) if name in arrays else "missing"
            raise NpzError(f"{scenes}, {rtl}: {name} is {found}, it must be {list(shape)}")
    if "report" not in arrays:
        raise NpzError(f"{rtl} has no report: write it with moevit simulate")
    return arrays
