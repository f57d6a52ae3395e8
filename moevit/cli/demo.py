# SPDX-License-Identifier: Apache-2.0
"""``moevit demo``: train, prepare, compare and score the demo network."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from moevit.golden.demo.compare import METRICS, RUNGS, metric, picture, predictions, read_rungs
from moevit.golden.demo.heads import Heads
from moevit.golden.demo.prepare import prepare as prepared
from moevit.golden.demo.recipe import Recipe
from moevit.golden.demo.train import train as trained
from moevit.golden.quant import score as scores
from moevit.golden.reference import CheckpointError, checkpoint
from moevit.kit.npz import NpzError, write_npz
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .screen import console, say, told
from .stages import Stages

Model = Annotated[Path, typer.Option(dir_okay=False, help="quantised model")]
Weights = Annotated[Path, typer.Option(dir_okay=False, help="float checkpoint with heads")]
MODEL, WEIGHTS = Path("build/demo/model.npz"), Path("models/demo/demo.safetensors")


def train(
    out: Annotated[Path, typer.Option(file_okay=False, help="folder to write")] = WEIGHTS.parent,
    steps: Annotated[int, typer.Option(min=len(Recipe.turns), help="updates, a turn of each task at least")]
        = Recipe.steps,
    scenes: Annotated[int, typer.Option(min=1, help="train scenes")] = Recipe.scenes,
    seed: Annotated[int, typer.Option(help="of weights and order")] = Recipe.seed,
    test_scenes: Annotated[int, typer.Option(min=1, help="scenes to measure")] = Recipe.test_scenes,
) -> None:
    """Train the demo network from scratch (CPU); write weights and model card."""
    with told(OSError):
        stages = Stages(out / "demo.safetensors")
        with stages.stage("train", steps) as stage:
            metrics = trained(Recipe(seed=seed, steps=steps, scenes=scenes, test_scenes=test_scenes), out, stage.step)
    say(f"mIoU {metrics.miou:.1%}, depth RMSE {metrics.depth_rmse:.4f} (a constant: {metrics.constant_rmse:.4f}) on "
        f"{metrics.scenes} test scenes; written to {out}")


def prepare(
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help=".npz to write")],
    model: Model = MODEL,
    weights: Weights = WEIGHTS,
    first: Annotated[int, typer.Option(min=0, help="first scene of the test split")] = 0,
    count: Annotated[int, typer.Option(min=1, help="scenes")] = 1,
) -> None:
    """Write test scenes with their float and integer tokens."""
    with told(CheckpointError, OSError, QuantisedModelError):
        stages = Stages(output)
        loaded = QuantisedModel.load(model)
        with stages.stage("prepare", count * len(loaded.network.tasks)) as stage:
            write_npz(output, prepared(loaded, weights, first, count, stage.step))
            stage.result = f"{count} scene(s), tasks {', '.join(loaded.network.tasks)}"
    say(f"{output}: images, labels, float and integer tokens")


def compare(
    scenes: Annotated[Path, typer.Argument(help=".npz of moevit demo prepare")],
    rtl: Annotated[Path, typer.Argument(help=".npz of moevit simulate")],
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="folder for demo.json and pictures")],
    model: Model = MODEL,
    weights: Weights = WEIGHTS,
) -> None:
    """Compare the rungs: a table, pictures, demo.json; exit 1 if integer model and RTL differ anywhere."""
    with told(CheckpointError, NpzError, OSError, QuantisedModelError):
        quantised = QuantisedModel.load(model)
        network = quantised.network
        heads = Heads(network)
        heads.load_tensors(checkpoint.read(weights).tensors)
        arrays = read_rungs(network, scenes, rtl)
        Stages(output / "demo.json")
    report = json.loads(arrays.pop("report").tobytes())
    table = Table("task", "metric", *RUNGS, "integer = RTL", title=f"{len(arrays['images'])} scene(s) per task")
    grid = (network.height // network.patch, network.width // network.patch)
    different = 0
    for task in network.tasks:
        tokens = {"float": arrays[f"float_{task}"]}
        for rung in RUNGS[1:]:
            tokens[rung] = arrays[f"{rung}_{task}"].astype(np.float32) / (1 << quantised.residual_fraction)
        found = {rung: predictions(heads, each, task) for rung, each in tokens.items()}
        measured = {rung: metric(each, arrays[task], task) for rung, each in found.items()}
        difference = arrays[f"integer_{task}"].astype(int) - arrays[f"rtl_{task}"]
        wrong = int(np.count_nonzero(difference))
        different += wrong
        report["tasks"][task] |= {"values_compared": difference.size, "values_different": wrong,
                                  "metric": {"name": METRICS[task], **measured}}
        table.add_row(task, METRICS[task], *(f"{each:.4f}" for each in measured.values()),
                      f"{difference.size:,} values, {wrong} differ")
        for index in range(len(arrays["images"])):
            picture(arrays["images"][index], arrays[task][index], {rung: each[index] for rung, each in found.items()},
                    difference[index], task, grid, output / f"demo_{task}_{index}.png")
    (output / "demo.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print(table)
    say(f"pictures and demo.json are in {output}/")
    raise typer.Exit(1 if different else 0)


def score(
    model: Model = MODEL,
    weights: Weights = WEIGHTS,
    count: Annotated[int, typer.Option(min=1, help="test scenes per task")] = 256,
) -> None:
    """Score a quantised demo model against its float checkpoint; write quantised.json beside it."""
    with told(CheckpointError, OSError, QuantisedModelError):
        loaded = QuantisedModel.load(model)
        path = weights.with_name("quantised.json")
        stages = Stages(path)
        with stages.stage("score", count * len(loaded.network.tasks)) as stage:
            result = scores.score(weights, loaded, count, stage.step)
        path.write_text(json.dumps(result, indent=1) + "\n")
    table = Table("task", "metric", "float", "integer", "tokens, dB", title=f"{count} test scenes per task")
    for task, name in scores.METRICS.items():
        found = result[task]
        table.add_row(task, name, *(f"{found[name][rung]:.4f}" for rung in ("float", "integer")),
                      f"{found['tokens_sqnr_db']:.1f}")
    console.print(table)
    say(f"same experts: {result['same_experts']}, saturated: {result['saturated']}")
