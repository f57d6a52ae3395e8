# SPDX-License-Identifier: Apache-2.0
"""The record of a training run: ``training.json``, and ``training.png`` and ``README.md`` made from it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from .evaluate import Metrics
from .recipe import Recipe
from .scenes import CLASSES

__all__ = ["Record", "write_card"]

_POINTS = 100  # of a curve


@dataclass
class Record:
    """A training run in progress. A point of a curve is the mean over the steps since the last point."""

    recipe: Recipe
    curve: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    steps: int = 0
    _sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, task: str, loss: float, imbalance: float) -> None:
        """Add one step."""
        self.steps += 1
        self._sums.setdefault(task, []).append(loss)
        self._sums.setdefault("imbalance", []).append(imbalance)
        if self.steps % max(len(self.recipe.turns), self.recipe.steps // _POINTS) == 0:
            for name, values in self._sums.items():
                line = self.curve.setdefault(name, {"step": [], "loss": []})
                line["step"].append(self.steps)
                line["loss"].append(round(sum(values) / len(values), 5))
            self._sums = {}

    def latest(self) -> str:
        """The last point of each curve, in one line."""
        return ", ".join(f"{name} {line['loss'][-1]:.3f}" for name, line in self.curve.items())


def write_card(record: Record, metrics: Metrics, out: Path) -> None:
    """Write the three files into ``out``."""
    contents = {
        "network": "demo", "recipe": asdict(record.recipe), "torch": torch.__version__, "steps": record.steps,
        "wall_seconds": record.wall_seconds, "cpu_seconds": record.cpu_seconds,
        "metrics": asdict(metrics), "curve": record.curve,
    }
    (out / "training.json").write_text(json.dumps(contents, indent=1) + "\n")
    _draw(contents).savefig(out / "training.png", dpi=110)
    (out / "README.md").write_text(_readme(contents))


def _draw(contents: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    names = {"semseg": "semseg: cross entropy", "depth": "depth: mean squared error", "imbalance": "expert imbalance"}
    for axes, (name, title) in zip(figure.subplots(1, 3), names.items(), strict=True):
        line = contents["curve"][name]
        axes.plot(line["step"], line["loss"], linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.set_yscale("log")
        axes.grid(which="both", alpha=0.3)
    return figure


def _readme(contents: dict[str, Any]) -> str:
    recipe, metrics = contents["recipe"], contents["metrics"]
    iou = "\n".join(f"| {name} | {value:.1%} |" for name, value in zip(CLASSES, metrics["iou"], strict=True))
    load = "\n".join(f"| {block} | {task} | {' '.join(map(str, counts))} |"
                     for block, tasks in metrics["expert_load"].items() for task, counts in tasks.items())
    return f"""# The demo model

`demo.safetensors` holds float32 weights of the network `demo` (`spec/networks.py`: image 64x128, 4 blocks, 8 experts
of which each token uses 2, tasks `semseg` and `depth`) and of its two heads. It is small enough to train in minutes,
and real enough to show what the accelerator's integers cost: its scores are measured on scenes never trained on.

This page is written by the training run; `training.json` holds every figure.

## Data
Scenes are composed on the fly (`golden/demo/scenes.py`) from pictures that Python packages carry, so nothing is
downloaded: handwritten digits (scikit-learn) on cards, pasted over photographs (scikit-image). Nearer cards are larger
and brighter and hide those behind. Per patch of 8x8 pixels the tasks are: which digit's card is seen, or background
(11 classes), and how far it is (0 to 1, background 1). Test scenes share no digit and no photograph with train scenes.

## Training
`make train-demo`, or `moevit demo train`, writes this folder anew. {contents["steps"]} steps of
{recipe["batch"]} scenes from {recipe["scenes"]}, in turns {", ".join(recipe["turns"])}; AdamW, learning rate
{recipe["learning_rate"]} with warm-up and cosine, weight decay {recipe["weight_decay"]}; a term of weight
{recipe["balance"]} spreads tokens over experts; seed {recipe["seed"]}, {recipe["threads"]} thread, bfloat16 products.
This run took {contents["cpu_seconds"]:.0f} s of processor time with everything
({contents["wall_seconds"]:.0f} s by the clock), with torch {contents["torch"]}.

![loss curves](training.png)

## Float metrics on {metrics["scenes"]} test scenes
| | |
|---|---|
| semseg, mean IoU over 11 classes | **{metrics["miou"]:.1%}** |
| semseg, patches right | {metrics["accuracy"]:.1%} |
| depth, RMSE | **{metrics["depth_rmse"]:.4f}** |
| depth, RMSE of the best constant | {metrics["constant_rmse"]:.4f} |
| largest absolute value of the residual stream | {metrics["residual_max"]:.1f} |

| class | IoU |
|---|---|
{iou}

Slots (token, rank) per expert:

| block | task | experts 0 to 7 |
|---|---|---|
{load}
"""
