# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.golden.demo.prepare``: test scenes with what the float and the integer model make of them.

Writes an ``.npz``: ``images`` u8 (S, H, W, 3), labels ``semseg`` and ``depth`` (S, patches), and per task
``float_<task>`` f32 and ``integer_<task>`` s16 tokens (S, N, D).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track

from moevit.golden.integer.model import IntegerModel
from moevit.golden.reference import CheckpointError, checkpoint, pixels
from moevit.spec.npz import write_npz
from moevit.spec.output import make_room
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .scenes import Scenes

__all__ = ["prepare"]


def prepare(model: QuantisedModel, weights: Path, first: int, count: int) -> dict[str, np.ndarray]:
    """The arrays of the file, for scenes ``first .. first + count - 1`` of the test split."""
    images, semseg, depth = Scenes("test").batch(first, count)
    arrays: dict[str, np.ndarray] = {"images": images, "semseg": semseg, "depth": depth}
    integer, reference = IntegerModel(model), checkpoint.load(weights)
    for index, task in enumerate(model.network.tasks):
        with torch.no_grad():
            arrays[f"float_{task}"] = reference(pixels(images), task).numpy()
        tokens = [integer.run(image, index).tokens for image in track(images, f"integer model, {task}",
                                                                        transient=True)]
        arrays[f"integer_{task}"] = np.stack(tokens).astype(np.int16)
    return arrays


def main(
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help=".npz to write")],
    model: Annotated[Path, typer.Option(help="quantised model")] = Path("build/demo/model.npz"),
    weights: Annotated[Path, typer.Option(help="float checkpoint")] = Path("models/demo/demo.safetensors"),
    first: Annotated[int, typer.Option(min=0, help="first scene of the test split")] = 0,
    count: Annotated[int, typer.Option(min=1, help="scenes")] = 1,
) -> None:
    """Write test scenes with their float and integer tokens."""
    try:
        make_room(output)
        arrays = prepare(QuantisedModel.load(model), weights, first, count)
        write_npz(output, arrays)
    except (CheckpointError, OSError, QuantisedModelError) as error:
        Console().print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
