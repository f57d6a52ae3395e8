# SPDX-License-Identifier: Apache-2.0
"""``moevit compile``: from a quantised model to a bundle."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from moevit.compiler.assemble import compile_model
from moevit.compiler.plan import DoesNotFit
from moevit.kit.npz import NpzError, read_npz
from moevit.spec.boards import BOARDS
from moevit.spec.heads import HeadError
from moevit.spec.isa import ProgramError
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .screen import board_named, config_named, say, told
from .stages import Stages


def compile_(
    model: Annotated[Path, typer.Argument(help="quantised model (.npz)")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="bundle to write")],
    config: Annotated[str | None, typer.Option(help="array configuration; the board's, or 16x16, if left out")] = None,
    board: Annotated[str | None, typer.Option(help=f"board: {', '.join(BOARDS)}")] = None,
    batch: Annotated[int, typer.Option(help="images at a time")] = 1,
    heads: Annotated[Path | None, typer.Option(help=".npz with the host's head weights; the model's own if left out")]
        = None,
    speculate: Annotated[int | None, typer.Option(help="experts fetched before the routing is known, 0 for none; "
                                                       "the model says it if left out")] = None,
) -> None:
    """Compile a quantised model to a bundle."""
    machine = config_named(config or (board_named(board).config if board else "16x16"))
    with told(DoesNotFit, HeadError, NpzError, OSError, ProgramError, QuantisedModelError):
        stages = Stages(output)
        with stages.stage("compile") as stage:
            quantised = QuantisedModel.load(model)
            arrays = _heads(heads, quantised.network) if heads else None
            stage(quantised.network.name)
            try:
                bundle = compile_model(quantised, machine, arrays, batch, speculate)
            except ProgramError as error:
                raise ProgramError(f"{model} has what no instruction holds: {error}") from error
            bundle.save(output)
            stage.result = f"{quantised.network.name} for {machine.name}"
    say(f"{output}: {bundle.program_length} instructions, {len(bundle.weights):,} bytes of weights, "
        f"{len(bundle.gates):,} bytes of gates for tasks {', '.join(bundle.tasks)}")


def _heads(path: Path, network: Network) -> dict[str, np.ndarray]:
    """The head tensors in a file. Raises NpzError, BadParameter.

    Heads of other tasks may be among them, as in a checkpoint; the host ignores them.
    """
    try:
        arrays = read_npz(path)
    except NpzError as error:
        raise NpzError(f"{path}: {error}") from error
    known = tuple(f"heads.{task}." for task in network.tasks)
    foreign = sorted(name for name in arrays if not name.startswith("heads."))
    if foreign or not any(name.startswith(known) for name in arrays):
        found = ", ".join(foreign[:3]) or "no head of its tasks"
        raise typer.BadParameter(f"no head weights of {network.name}: {found} is in it, names begin with "
                                 f"{' or '.join(known)}", param_hint="--heads")
    return arrays
