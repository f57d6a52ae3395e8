# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.golden.quant``: quantise a checkpoint and say what it cost, layer by layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from torch import Tensor

from moevit.golden.integer.bounds import BoundsError
from moevit.golden.reference import CheckpointError, load_state, read
from moevit.golden.reference.checkpoint import HEADS
from moevit.spec.networks import Network
from moevit.spec.npz import write_npz
from moevit.spec.output import make_room

from .errors import CalibrationError, QuantisationError
from .fidelity import BLOCK_TENSORS, Fidelity, compare
from .images import photographs
from .quantiser import layer_count, quantise

DEFAULT_IMAGES = 16

console = Console()


def main(
    checkpoint: Annotated[Path, typer.Argument(dir_okay=False, help="float checkpoint (.safetensors)")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="quantised model to write (.npz)")],
    images: Annotated[Path | None, typer.Option(help="calibration images, u8 (images, H, W, 3) in a .npy file; "
                                                     "without it, crops of photographs")] = None,
    check: Annotated[int, typer.Option(min=0, help="images to compare with the float model")] = 2,
    heads: Annotated[Path | None, typer.Option(dir_okay=False, help="where to write the checkpoint's head tensors "
                                                                    "(.npz), for compile --heads")] = None,
) -> None:
    """Quantise a checkpoint."""
    try:
        network, tensors, host = read(checkpoint)
        for path in filter(None, (output, heads)):  # told before the minutes of calibration
            make_room(path)
        if heads:
            _save_heads(tensors, heads, checkpoint)
        chosen = _images(network, images)
        with Progress(TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                      console=console) as progress:
            bar = progress.add_task("calibrating", total=layer_count(network))
            model = quantise(network, {name: tensor.numpy() for name, tensor in tensors.items()}, chosen, host=host,
                             watch=lambda layer: progress.update(bar, advance=1, description=layer))
            progress.update(bar, description="quantised")
        model.save(output)
    except (BoundsError, CheckpointError, OSError, QuantisationError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"{output}: {network.name}, tokens are integers x 2^-{model.residual_fraction}")
    if check:
        console.print(table(compare(load_state(network, tensors), model, chosen[:check]), network))


def table(fidelity: Fidelity, network: Network) -> Table:
    """SQNR in dB per block and tensor, and the share of tokens that are routed as in float."""
    shown = [name for name in BLOCK_TENSORS if name != "gate_logits" or network.experts]
    names = ["block", *(name.replace("_", "\n") for name in shown), *(["same\nexperts"] if network.experts else [])]
    result = Table(*(Column(name, justify="right", no_wrap=True) for name in names), box=SIMPLE_HEAD,
                   padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,  # 80 columns hold it
                   title=f"SQNR in dB against float; embedding {fidelity.sqnr['x_embed']:.1f}, "
                         f"output {fidelity.sqnr['tokens']:.1f}; {fidelity.saturated} saturated")
    for block in range(network.depth):
        cells = [fidelity.sqnr.get(f"{block}.{name}") for name in shown]
        routing = [f"{fidelity.routing[block]:.1%}" if block in fidelity.routing else ""] if network.experts else []
        result.add_row(str(block), *("" if cell is None else f"{cell:.1f}" for cell in cells), *routing)
    return result


def _save_heads(tensors: Mapping[str, Tensor], path: Path, checkpoint: Path) -> None:
    found = {name: tensor.numpy() for name, tensor in tensors.items() if name.startswith(HEADS)}
    if not found:
        raise QuantisationError(f"{checkpoint} has no tensors called {HEADS}...: leave out --heads")
    write_npz(path, found)


def _images(network: Network, path: Path | None) -> np.ndarray:
    if path is None:
        return photographs(network, DEFAULT_IMAGES)
    try:
        return np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise CalibrationError(f"{path} is not a .npy file of images: {error}") from error


if __name__ == "__main__":
    typer.run(main)
