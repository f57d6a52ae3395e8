# SPDX-License-Identifier: Apache-2.0
"""``moevit import``: converts a checkpoint of another library to a moevit checkpoint, with a report."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.golden.importers import FAMILIES, Imported, ImportFailed, import_checkpoint
from moevit.golden.importers.options import NORMALISATIONS, PATCH_ORDERS
from moevit.golden.reference import CheckpointError
from moevit.spec.networks import Network

from .parse import pair, triple
from .screen import say, told
from .stages import Stages

_OTHER = "Facts that the file does not contain"


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="safetensors, .pth, .bin, .npz, .onnx, or a Hugging Face folder")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="checkpoint to write (.safetensors)")],
    image: Annotated[str | None, typer.Option(metavar="HxW", help="image in pixels, as in 224x224; other than the "
                                                                  "trained one resamples the positions")] = None,
    family: Annotated[str | None, typer.Option(help=f"instead of recognising it: {', '.join(FAMILIES)}")] = None,
    state: Annotated[str | None, typer.Option(help="which state dict of a file that holds several")] = None,
    name: Annotated[str | None, typer.Option(help="of the network; the file's if left out")] = None,
    model: Annotated[str | None, typer.Option(help="what the source's library calls the network",
                                              rich_help_panel=_OTHER)] = None,
    grid: Annotated[str | None, typer.Option(metavar="ROWSxCOLUMNS", help="patches of the trained image",
                                             rich_help_panel=_OTHER)] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="attention heads", rich_help_panel=_OTHER)] = None,
    activation: Annotated[str | None, typer.Option(help="gelu, gelu_tanh, quick_gelu, relu",
                                                   rich_help_panel=_OTHER)] = None,
    norm_eps: Annotated[float | None, typer.Option(help="epsilon of the LayerNorms", rich_help_panel=_OTHER)] = None,
    normalise: Annotated[str | None, typer.Option(help=f"of pixels: {', '.join(NORMALISATIONS)}",
                                                  rich_help_panel=_OTHER)] = None,
    mean: Annotated[str | None, typer.Option(metavar="R,G,B", help="of pixels in 0..1", rich_help_panel=_OTHER)] = None,
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="of pixels in 0..1", rich_help_panel=_OTHER)] = None,
    pool: Annotated[str | None, typer.Option(help="what the classifier reads: cls, mean, cls_mean, prefix, patches",
                                             rich_help_panel=_OTHER)] = None,
    tasks: Annotated[str | None, typer.Option(metavar="A,B", help="names of the tasks", rich_help_panel=_OTHER)] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="experts per token", rich_help_panel=_OTHER)] = None,
    renormalise: Annotated[bool | None, typer.Option(help="gate scores of the chosen experts sum to 1",
                                                     rich_help_panel=_OTHER)] = None,
    patch_order: Annotated[str | None, typer.Option(help=f"of a linear patch embedding: {', '.join(PATCH_ORDERS)}",
                                                    rich_help_panel=_OTHER)] = None,
    leave_out: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="tensors of no use, as in 'decoder*' "
                                                        "(may be repeated)", rich_help_panel=_OTHER)] = None,
) -> None:
    """Import a checkpoint: recognised, folded exactly, and proved against its own library where that is installed."""
    options = {
        "image": pair(image, "--image"), "family": family, "state": state, "name": name, "model": model,
        "grid": pair(grid, "--grid"), "heads": heads, "activation": activation, "norm_eps": norm_eps,
        "normalise": normalise, "mean": triple(mean, "--mean"), "std": triple(std, "--std"), "pool": pool,
        "tasks": tuple(tasks.split(",")) if tasks else None, "top_k": top_k, "renormalise": renormalise,
        "patch_order": patch_order, "leave_out": tuple(leave_out or ())}
    with told(CheckpointError, ImportFailed, OSError):
        stages = Stages(output)
        with stages.stage("import") as stage:
            stage(str(checkpoint))
            imported = import_checkpoint(checkpoint, **options)
            imported.save(output)
            stage.result = described(imported.network)
    show(imported)
    say(f"{output}: {described(imported.network)}")


def show(imported: Imported) -> None:
    """Print the report, line by line."""
    for line in imported.report.lines():
        say(line)


def described(network: Network) -> str:
    """A short description of a network."""
    experts = f", {network.experts} experts" if network.experts else ""
    return (f"{network.name}: {network.height} x {network.width} pixels, patch {network.patch}, dim {network.dim}, "
            f"{network.depth} blocks{experts}")
