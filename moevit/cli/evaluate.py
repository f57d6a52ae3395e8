# SPDX-License-Identifier: Apache-2.0
"""``moevit evaluate``: the loss from quantising, measured on pictures."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from moevit.golden.pictures import PictureError, classes_of, files_of, spread
from moevit.golden.reference import CheckpointError, M3ViT, load
from moevit.host.heads import Head, HeadError, confusion_matrix, read_heads
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from ..evaluation import Answers, EvaluationError, answers, labels_of
from .screen import console, say, told
from .stages import Stages

MOST_CLASSES = 20  # of a confusion table; with more, the most frequent confusions are listed


def evaluate(
    model: Annotated[Path, typer.Argument(help="quantised model (.npz)")],
    images: Annotated[Path, typer.Option(help="folder of pictures; with a folder for each class, accuracy is counted")],
    checkpoint: Annotated[Path | None, typer.Option(dir_okay=False, help=(
        "float checkpoint (.safetensors); the one that the model was made of if left out"))] = None,
    count: Annotated[int | None, typer.Option(min=1, help="pictures of each class, or of all without classes, from all "
                                                          "over; all if left out")] = None,
    task: Annotated[str | None, typer.Option(help="the first one if left out")] = None,
    head: Annotated[str | None, typer.Option(help="classifier; needed if there are several")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help=".json to write")] = None,
) -> None:
    """Compare float and integer answers on pictures: top-1, agreement and confusion, or features."""
    with told(CheckpointError, EvaluationError, HeadError, OSError, PictureError, QuantisedModelError):
        stages = Stages(output)
        quantised = QuantisedModel.load(model)
        place = _place(quantised, task)
        heads = read_heads(quantised.network, quantised.heads, quantised.host)
        classifier = _classifier({name: each for name, each in heads.items()
                                  if each.task in (None, quantised.network.tasks[place])}, head)
        folders = {name: spread(paths, count or len(paths)) for name, paths in classes_of(images).items()}
        labelled = labels_of(folders, classifier) if folders and classifier else {}
        paths = [path for each in folders.values() for path in each] if labelled else files_of(images)
        paths = paths if labelled or not count else spread(paths, count)
        with stages.stage("load") as stage:
            reference = _reference(quantised, model, checkpoint)
            stage.result = f"{quantised.network.name}, {len(paths)} pictures"
        with stages.stage("evaluate", len(paths)) as stage:
            found = answers(quantised, reference, paths, place, classifier, _norm(heads), stage.step)
            stage.result = f"{len(paths)} pictures in float and in integers"
        labels = [labelled[name] for name, each in folders.items() for _ in each] if labelled else None
        figures = _figures(found, labels)
        if output:
            output.write_text(json.dumps(figures, indent=1) + "\n")
    _print(figures)
    if labelled and labels:
        _print_confusion(found, labels, {place: name for name, place in labelled.items()})


def _place(model: QuantisedModel, task: str | None) -> int:
    tasks = model.network.tasks
    if task is not None and task not in tasks:
        raise typer.BadParameter(f"no task is called {task!r}; there are {', '.join(tasks)}", param_hint="--task")
    return tasks.index(task) if task else 0


def _classifier(heads: dict[str, Head], name: str | None) -> Head | None:
    """The head that gives the class of a picture, or None. Raises BadParameter."""
    found = {key: each for key, each in heads.items() if each.weight is not None and each.pool != "patches"}
    if name is not None and name not in found:
        raise typer.BadParameter(f"no classifier is called {name!r}; there are {', '.join(found) or 'none'}",
                                 param_hint="--head")
    if len(found) > 1 and name is None:
        raise typer.BadParameter(f"there are {', '.join(found)}: name one", param_hint="--head")
    return found[name] if name else next(iter(found.values()), None)


def _norm(heads: dict[str, Head]) -> Head | None:
    return next((each for each in heads.values() if each.weight is None), None)


def _reference(quantised: QuantisedModel, model: Path, checkpoint: Path | None) -> M3ViT:
    """The float model. Raises EvaluationError, CheckpointError, OSError."""
    noted = quantised.notes.get("checkpoint")
    path = checkpoint or (model.parent / str(noted) if noted else None)
    if path is None or not path.exists():
        raise EvaluationError(f"the float checkpoint of {model} is not {path or 'noted in it'}: give --checkpoint")
    reference = load(path)
    if reference.network != quantised.network:
        raise EvaluationError(f"{path} is {reference.network.name}, {model} was made of another network "
                              f"({quantised.network.name}): give --checkpoint")
    return reference


def _figures(found: Answers, labels: list[int] | None) -> dict[str, Any]:
    cosines = np.concatenate(found.cosines)
    figures: dict[str, Any] = {"pictures": len(found.cosines)}
    if labels is not None:
        figures |= {"top1_float": found.top1(labels, "float"), "top1_integer": found.top1(labels, "integer")}
    if found.classes["float"]:
        figures["agreement"] = found.agreement
    return figures | {"cosine_median": float(np.median(cosines)), "cosine_least": float(cosines.min()),
                      "saturated": found.saturated}


def _print(figures: dict[str, Any]) -> None:
    pictures = figures["pictures"]
    if "top1_float" in figures:
        for rung in ("float", "integer"):
            share = figures[f"top1_{rung}"]
            say(f"top-1 {rung:8} {share:6.2%}  {round(share * pictures):,} of {pictures:,}")
    if "agreement" in figures:
        say(f"agreement      {figures['agreement']:6.2%}  the same class in float and in integers")
    say(f"features       cosine of a token with its float one: median {figures['cosine_median']:.5f}, least "
        f"{figures['cosine_least']:.5f}; {figures['saturated']:,} values saturated")


def _print_confusion(found: Answers, labels: list[int], names: dict[int, str]) -> None:
    """Rows are labels, columns are answers in integers, with those in float in brackets where they differ."""
    answered = found.classes
    places = sorted({*labels, *answered["float"], *answered["integer"]})
    size = max(places) + 1
    counts = {rung: confusion_matrix(np.array(labels), np.array(answered[rung]), size) for rung in answered}
    called = {place: names.get(place, f"class {place}") for place in places}
    if len(places) <= MOST_CLASSES:
        table = Table("label \\ integer (float)", *(Column(called[place], justify="right", no_wrap=True)
                                                    for place in places), box=SIMPLE_HEAD, pad_edge=False,
                      show_edge=False, padding=(0, 1, 0, 0))
        for row in (place for place in places if place in names):
            table.add_row(called[row], *(_cell(counts["integer"][row, column], counts["float"][row, column])
                                         for column in places))
        console.print(table)
        return
    wrong = counts["integer"] * (1 - np.eye(size, dtype=int))
    for place in np.argsort(-wrong, axis=None, kind="stable")[:10]:
        row, column = divmod(int(place), size)
        if wrong[row, column]:
            say(f"{called[row]} taken for {called[column]}: {wrong[row, column]} "
                f"(float: {counts['float'][row, column]})")


def _cell(integer: int, exact: int) -> str:
    return str(integer) if integer == exact else f"{integer} ({exact})"
