# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.golden.demo.compare``: float, integer and RTL side by side, as a table, pictures and JSON."""

import json
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from moevit.golden.reference import CheckpointError, checkpoint
from moevit.spec.networks import Network
from moevit.spec.npz import NpzError, read_npz
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .evaluate import confusion_matrix, mean_iou
from .heads import Heads
from .scenes import CLASSES

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

__all__ = ["metric", "picture", "predictions"]

RUNGS = ("float", "integer", "rtl")
METRICS = {"semseg": "mIoU", "depth": "RMSE"}


def predictions(heads: Heads, tokens: np.ndarray, task: str) -> np.ndarray:
    """Class (S, patches) or depth (S, patches) from tokens (S, N, D) f32."""
    with torch.no_grad():
        outputs = heads(torch.from_numpy(np.ascontiguousarray(tokens)), task)
    return (outputs.argmax(-1) if task == "semseg" else outputs.squeeze(-1)).numpy()


def metric(predicted: np.ndarray, labels: np.ndarray, task: str) -> float:
    """mIoU of classes, or root mean square error of depths."""
    if task == "semseg":
        return mean_iou(confusion_matrix(torch.from_numpy(labels), torch.from_numpy(predicted), len(CLASSES)))[0]
    return float(np.sqrt(np.mean((predicted - labels) ** 2)))


def picture(image: np.ndarray, label: np.ndarray, outputs: dict[str, np.ndarray], difference: np.ndarray, task: str,
            grid: tuple[int, int], path: Path) -> None:
    """One scene: input, label, each rung's output, and integer minus RTL over tokens and channels (black is equal)."""
    limits = {"vmin": 0, "vmax": len(CLASSES) - 1, "cmap": "tab20"} if task == "semseg" else {
        "vmin": 0, "vmax": 1, "cmap": "viridis"}
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


def _arrays(network: Network, scenes: Path, rtl: Path) -> dict[str, np.ndarray]:
    """The arrays of both files. Raises NpzError for one that is missing or of another shape."""
    arrays = {**read_npz(scenes), **read_npz(rtl)}
    count, tokens = len(arrays.get("images", ())), (network.tokens, network.dim)
    wanted: dict[str, tuple[int, ...]] = {task: (count, network.patches) for task in network.tasks}
    wanted |= {f"{rung}_{task}": (count, *tokens) for rung in RUNGS for task in network.tasks}
    for name, shape in wanted.items():
        if name not in arrays or arrays[name].shape != shape:
            found = list(arrays[name].shape) if name in arrays else "missing"
            raise NpzError(f"{scenes}, {rtl}: {name} is {found}, it must be {list(shape)}")
    if "report" not in arrays:
        raise NpzError(f"{rtl} has no report: write it with python -m moevit.sim")
    return arrays


def main(
    scenes: Annotated[Path, typer.Argument(help=".npz of moevit.golden.demo.prepare")],
    rtl: Annotated[Path, typer.Argument(help=".npz of moevit.sim run")],
    output: Annotated[Path, typer.Option("--output", "-o", help="directory for demo.json and pictures")],
    model: Annotated[Path, typer.Option(help="quantised model")] = Path("build/demo/model.npz"),
    weights: Annotated[Path, typer.Option(help="float checkpoint with heads")] = Path("models/demo/demo.safetensors"),
) -> None:
    """Compare the rungs; exit 1 if integer model and RTL differ anywhere."""
    console = Console()
    try:
        quantised = QuantisedModel.load(model)
        network = quantised.network
        heads = Heads(network)
        heads.load_tensors(checkpoint.read(weights).tensors)
        arrays = _arrays(network, scenes, rtl)
        report = json.loads(arrays.pop("report").tobytes())
        output.mkdir(parents=True, exist_ok=True)
    except (CheckpointError, NpzError, OSError, QuantisedModelError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    table = Table("task", "metric", *RUNGS, "integer = RTL", title=f"{len(arrays['images'])} scene(s) per task")
    grid = (network.height // network.patch, network.width // network.patch)
    different = 0
    for task in network.tasks:
        tokens = {"float": arrays[f"float_{task}"]}
        for rung in RUNGS[1:]:
            tokens[rung] = arrays[f"{rung}_{task}"].astype(np.float32) / (1 << quantised.residual_fraction)
        found = {rung: predictions(heads, each, task) for rung, each in tokens.items()}
        scores = {rung: metric(each, arrays[task], task) for rung, each in found.items()}
        difference = arrays[f"integer_{task}"].astype(int) - arrays[f"rtl_{task}"]
        wrong = int(np.count_nonzero(difference))
        different += wrong
        report["tasks"][task] |= {"values_compared": difference.size, "values_different": wrong,
                                  "metric": {"name": METRICS[task], **scores}}
        table.add_row(task, METRICS[task], *(f"{score:.4f}" for score in scores.values()),
                      f"{difference.size:,} values, {wrong} differ")
        for index in range(len(arrays["images"])):
            picture(arrays["images"][index], arrays[task][index], {rung: each[index] for rung, each in found.items()},
                    difference[index], task, grid, output / f"demo_{task}_{index}.png")
    (output / "demo.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print(table)
    console.print(f"pictures and demo.json are in {output}/")
    raise typer.Exit(1 if different else 0)


if __name__ == "__main__":
    typer.run(main)
