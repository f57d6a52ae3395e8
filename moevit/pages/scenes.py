# SPDX-License-Identifier: Apache-2.0
"""The README's scenes: the best, the median and the worst of the test scenes, as the integer model answers them.

``python -m moevit.pages.scenes`` runs all 256 test scenes of ``models/demo`` for both tasks (some minutes) and writes
``docs/pictures/scenes.json``, what was measured, and ``docs/pictures/scenes.png``. The RTL gives the same integers.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from moevit.golden.demo.heads import Heads
from moevit.golden.demo.scenes import CLASSES, Scenes
from moevit.golden.integer.model import IntegerModel
from moevit.golden.reference import checkpoint
from moevit.report.colours import DEPTH, WRONG, class_map, value_map
from moevit.spec.quantised import QuantisedModel

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)
from matplotlib.colors import ListedColormap  # noqa: E402

from moevit.golden.demo.compare import metric, predictions  # noqa: E402

__all__ = ["COUNT", "answers", "chosen", "draw", "measure"]

COUNT = 256
_FOLDER, _WEIGHTS = Path("docs/pictures"), Path("models/demo/demo.safetensors")
Answers = dict[str, np.ndarray]


def answers(model: QuantisedModel, heads: Heads, first: int, count: int) -> tuple[np.ndarray, Answers, Answers]:
    """Images of test scenes, labels and the integer model's answers (scenes, patches) by task."""
    images, semseg, depth = Scenes("test").batch(first, count)
    integer, found = IntegerModel(model), {}
    for index, task in enumerate(model.network.tasks):
        tokens = np.stack([integer.run(image, index).tokens for image in images])
        found[task] = predictions(heads, (tokens * 2.0**-model.residual_fraction).astype(np.float32), task)
    return images, {"semseg": semseg, "depth": depth}, found


def measure(labels: Answers, found: Answers) -> dict[str, Any]:
    """Wrong patches and depth error of each scene, and the metrics of all together."""
    wrong = (labels["semseg"] != found["semseg"]).sum(axis=1)
    errors = np.sqrt(np.square(labels["depth"] - found["depth"]).mean(axis=1))
    return {"scenes": len(wrong), "patches": labels["semseg"].shape[1], "wrong": wrong.tolist(),
            "on_cards": (labels["semseg"] > 0).sum(axis=1).tolist(), "rmse": [round(float(each), 4) for each in errors],
            "miou": round(metric(found["semseg"], labels["semseg"], "semseg"), 4),
            "depth_rmse": round(metric(found["depth"], labels["depth"], "depth"), 4)}


def chosen(measured: dict[str, Any]) -> dict[str, int]:
    """Scenes by wrong patches: the best (of those the one with most patches on cards), the median, the worst."""
    wrong, cards = measured["wrong"], measured["on_cards"]
    order = sorted(range(measured["scenes"]), key=lambda scene: (wrong[scene], -cards[scene]))
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}


def draw(images: dict[str, np.ndarray], labels: dict[str, Answers], found: dict[str, Answers],
         measured: dict[str, Any], grid: tuple[int, int], path: Path) -> None:
    """A row for each of `chosen`: input, labels and answers of both tasks, wrong patches over the input."""
    whole = (0, 2 * grid[1], 2 * grid[0], 0)
    figure, axes = plt.subplots(len(images), 6, figsize=(15, 1.5 * len(images) + 0.8), layout="constrained")
    titles = ("input", "digits: label", "digits: machine", "wrong patches", "depth: label", "depth: machine")
    for row, (name, scene) in zip(axes, chosen(measured).items(), strict=True):
        wrong = (labels[name]["semseg"] != found[name]["semseg"]).reshape(grid)
        row[0].imshow(images[name], extent=whole)
        row[0].set_ylabel(f"{name}\nscene {scene}")
        for axis, answer in zip(row[1:3], (labels[name], found[name]), strict=True):
            digits = axis.imshow(answer["semseg"].reshape(grid), extent=whole, cmap=class_map(len(CLASSES)),
                                 vmin=-0.5, vmax=len(CLASSES) - 0.5)
        row[3].imshow(images[name] // 2, extent=whole)
        row[3].imshow(np.ma.masked_equal(wrong, False), extent=whole, cmap=ListedColormap([WRONG]), alpha=0.85)
        row[3].set_xlabel(f"{wrong.sum()} of {wrong.size}")
        for axis, answer in zip(row[4:], (labels[name], found[name]), strict=True):
            values = axis.imshow(answer["depth"].reshape(grid), extent=whole, cmap=value_map(DEPTH), vmin=0, vmax=1)
        row[5].set_xlabel(f"RMSE {measured['rmse'][scene]:.3f}")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=11)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    legend = figure.colorbar(digits, ax=axes[:, 1:3], location="bottom", ticks=range(len(CLASSES)), aspect=40)
    legend.ax.set_xticklabels(["none", *CLASSES[1:]])
    legend.set_label("digit")
    figure.colorbar(values, ax=axes[:, 4:], location="bottom", aspect=40).set_label("depth")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Run all scenes, then draw the three."""
    model = QuantisedModel.load(Path("build/demo/model.npz"))
    heads = Heads(model.network)
    heads.load_tensors(checkpoint.read(_WEIGHTS).tensors)
    images, labels, found = answers(model, heads, 0, COUNT)
    measured = measure(labels, found)
    (_FOLDER / "scenes.json").write_text(json.dumps(measured) + "\n")
    grid = model.network.height // model.network.patch, model.network.width // model.network.patch
    scenes = chosen(measured)
    draw({name: images[scene] for name, scene in scenes.items()},
         {name: {task: each[scene] for task, each in labels.items()} for name, scene in scenes.items()},
         {name: {task: each[scene] for task, each in found.items()} for name, scene in scenes.items()},
         measured, grid, _FOLDER / "scenes.png")


if __name__ == "__main__":
    main()
