# SPDX-License-Identifier: Apache-2.0
"""``moevit quantise``: converts a float checkpoint to integers, and prints the loss, layer by layer."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from torch import Tensor

from moevit.golden.integer.bounds import BoundsError
from moevit.golden.pictures import PictureError, files_of, read_pictures, spread
from moevit.golden.quant.errors import CalibrationError, QuantisationError
from moevit.golden.quant.fidelity import BLOCK_TENSORS, Fidelity, compare
from moevit.golden.quant.images import photographs
from moevit.golden.quant.quantiser import layer_count
from moevit.golden.quant.quantiser import quantise as quantised
from moevit.golden.reference import CheckpointError, load_state, read
from moevit.golden.reference.checkpoint import HEADS
from moevit.kit.npz import write_npz
from moevit.spec.networks import Network

from . import verdict
from .screen import console, say, told
from .stages import Stages

PICTURES = (".png", ".jpg", ".jpeg")


def quantise(
    checkpoint: Annotated[Path, typer.Argument(dir_okay=False, help="float checkpoint (.safetensors)")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="quantised model to write (.npz)")],
    images: Annotated[Path | None, typer.Option(help="calibration images: a folder of pictures (PNG, JPEG), or u8 "
                                                     "(images, H, W, 3) in a .npy file; without it, crops of "
                                                     "photographs")] = None,
    count: Annotated[int, typer.Option(min=1, help="pictures of a folder to take, from all over it")] = 16,
    check: Annotated[int, typer.Option(min=0, help="images to compare with the float model")] = 2,
    heads: Annotated[Path | None, typer.Option(dir_okay=False, help="where to write the checkpoint's head tensors "
                                                                    "(.npz), for compile --heads")] = None,
) -> None:
    """Quantise a checkpoint."""
    with told(BoundsError, CheckpointError, OSError, PictureError, QuantisationError):
        network, tensors, host = read(checkpoint)
        stages = Stages(output, heads)
        head_tensors = _heads(tensors, checkpoint) if heads else {}
        with stages.stage("images") as stage:
            chosen = calibration(network, images, count, host)
            stage.result = f"{len(chosen)} for calibration"
        with stages.stage("quantise", layer_count(network)) as stage:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            model = quantised(network, arrays, chosen, host=host, watch=stage.step)
            model.notes["checkpoint"] = os.path.relpath(checkpoint, output.parent)  # for moevit evaluate
            model.save(output)
            if heads:  # after the model: a run that is cut off leaves no new heads beside an old model
                write_npz(heads, head_tensors)
            stage.result = f"{layer_count(network)} layers"
        if check:
            with stages.stage("compare") as stage:
                fidelity = compare(load_state(network, tensors), model, chosen[:check])
                stage.result = f"{check} images with float"
    say(f"{output}: {network.name}, tokens are integers x 2^-{model.residual_fraction}")
    if check:
        console.print(table(fidelity, network))
        verdict.show(model, arrays, fidelity)


def table(fidelity: Fidelity, network: Network) -> Table:
    """SQNR in dB per block and tensor, and the share of tokens routed as in float."""
    shown = [name for name in BLOCK_TENSORS if name != "gate_logits" or network.experts]
    names = ["block", *(name.replace("_", "\n") for name in shown), *(["same\nexperts"] if network.experts else [])]
    result = Table(*(Column(name, justify="right", no_wrap=True) for name in names), box=SIMPLE_HEAD,
                   padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,  # fits 80 columns
                   title=f"SQNR in dB against float; embedding {fidelity.sqnr['x_embed']:.1f}, "
                         f"output {fidelity.sqnr['tokens']:.1f}; {sum(fidelity.saturated.values())} saturated")
    for block in range(network.depth):
        cells = [fidelity.sqnr.get(f"{block}.{name}") for name in shown]
        routing = [f"{fidelity.routing[block]:.1%}" if block in fidelity.routing else ""] if network.experts else []
        result.add_row(str(block), *("" if cell is None else f"{cell:.1f}" for cell in cells), *routing)
    return result


def _heads(tensors: Mapping[str, Tensor], checkpoint: Path) -> dict[str, np.ndarray]:
    found = {name: tensor.numpy() for name, tensor in tensors.items() if name.startswith(HEADS)}
    if not found:
        raise QuantisationError(f"{checkpoint} has no tensors called {HEADS}...: leave out --heads")
    return found


def calibration(network: Network, path: Path | None, count: int, host: Mapping[str, Any]) -> np.ndarray:
    """Calibration images u8 (images, H, W, 3). Raises CalibrationError, PictureError, OSError."""
    if path is None:
        return photographs(network, count)
    if path.is_file() and path.suffix not in PICTURES:
        try:
            return np.load(path, allow_pickle=False)
        except (EOFError, ValueError) as error:
            raise CalibrationError(f"{path} is not a .npy file of images: {error}") from error
    return read_pictures(spread(files_of(path), count), (network.height, network.width), host.get("preprocess", {}))
