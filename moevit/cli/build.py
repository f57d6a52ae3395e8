# SPDX-License-Identifier: Apache-2.0
"""``moevit build``: from a checkpoint to a bundle, run on the golden machine, with a verdict."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from moevit.compiler.assemble import compile_model
from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import estimate
from moevit.estimator.onchip import shortages
from moevit.golden.importers import Imported, ImportFailed, import_checkpoint
from moevit.golden.integer.bounds import BoundsError
from moevit.golden.integer.model import IntegerModel
from moevit.golden.pictures import PictureError
from moevit.golden.quant.errors import QuantisationError
from moevit.golden.quant.fidelity import Fidelity, compare
from moevit.golden.quant.quantiser import layer_count
from moevit.golden.quant.quantiser import quantise as quantised
from moevit.golden.reference import CheckpointError, load_state
from moevit.host.errors import AccelError
from moevit.host.heads import HeadError
from moevit.host.report import RunReport
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import BOARDS
from moevit.spec.bundle import Bundle
from moevit.spec.isa import ProgramError
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from ..inside import look_inside
from . import verdict
from .import_ import described, show
from .page import RunFacts, page_named, write_page
from .parse import pair
from .quantise import calibration, table
from .run import opened
from .screen import board_named, config_named, console, say, told
from .stages import Stages

DIFFERENT = 3  # exit code if golden machine and integer model differ


def build(
    checkpoint: Annotated[Path, typer.Argument(help="what moevit import reads, its output too")],
    board: Annotated[str, typer.Option(help=f"board: {', '.join(BOARDS)}")],
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help=(
        "folder for NAME.safetensors, NAME.npz, NAME.bundle"))],
    images: Annotated[Path | None, typer.Option(help="calibration pictures, as moevit quantise takes them")] = None,
    count: Annotated[int, typer.Option(min=1, help="pictures of a folder to take, from all over it")] = 16,
    config: Annotated[str | None, typer.Option(help="array configuration; the board's if left out")] = None,
    image: Annotated[str | None, typer.Option(metavar="HxW", help="as in moevit import")] = None,
    family: Annotated[str | None, typer.Option(help="as in moevit import")] = None,
    state: Annotated[str | None, typer.Option(help="as in moevit import")] = None,
    model: Annotated[str | None, typer.Option(help="as in moevit import")] = None,
    normalise: Annotated[str | None, typer.Option(help="as in moevit import")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="as in moevit import")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="as in moevit import")] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="page to write (.html)")] = None,
) -> None:
    """Import, quantise, estimate, compile, and run a picture on the golden machine. If an import needs more options,
    run moevit import and give its output."""
    known = board_named(board)
    machine = config_named(config or known.config)
    written = {kind: output / f"{checkpoint.stem}.{kind}" for kind in ("safetensors", "npz", "bundle")}
    options = {"image": pair(image, "--image"), "family": family, "state": state, "model": model,
               "normalise": normalise, "heads": heads, "leave_out": tuple(leave_out or ())}
    with told(AccelError, BoundsError, CheckpointError, DoesNotFit, HeadError, ImportFailed, OSError, PictureError,
              ProgramError, QuantisationError, QuantisedModelError):
        if checkpoint.resolve() == written["safetensors"].resolve():
            raise OSError(f"{checkpoint} would be overwritten: give another folder with --output")
        page_named(report)
        stages = Stages(*written.values(), report)
        imported = _imported(stages, checkpoint, options, written["safetensors"])
        with stages.stage("estimate") as stage:  # before quantising, which takes minutes
            found = estimate(imported.network, machine, known)
            stage.result = (f"{board} with {machine.name}: {found.cycles:,} cycles, "
                            f"{known.milliseconds(found.cycles):.2f} ms at {known.clock_mhz:g} MHz (assumed)")
        with stages.stage("images") as stage:
            chosen = calibration(imported.network, images, count, imported.host)
            stage.result = f"{len(chosen)} for calibration"
        integers, fidelity = _quantised(stages, imported, chosen, written)
        bundle, ran = _run(stages, integers, machine, chosen[0], written["bundle"])
    console.print(table(fidelity, imported.network))
    warnings = verdict.show(integers, _arrays(imported), fidelity).warnings
    lacking = shortages(machine, known)
    for each in lacking:
        say(f"verdict: {machine.name} does not fit {board}: {each}", "red")
    if report:
        files = {"read": checkpoint, **{path.suffix[1:]: path for path in written.values()}}
        first = bundle.tasks[0]
        write_page(report, RunFacts(bundle, "golden", ran.logs, known, ran.tokens[first][None], files, model=integers,
                                 inside=look_inside(integers, chosen[0], first), fidelity=fidelity,
                                 warnings=(*lacking, *warnings), different=ran.different, compared=ran.compared), known)
        say(f"{report}: {report.stat().st_size:,} bytes")
    found, doubts = estimate(integers, machine, known), len(warnings)
    say(f"verdict: {ran.compared:,} values, {ran.different:,} differ; {doubts or 'no'} warning{'s' * (doubts > 1)}; "
        f"{known.milliseconds(found.cycles):.2f} ms on {board}: {written['bundle']}",
        "red" if ran.different or lacking else "yellow" if doubts else "green")
    raise typer.Exit(DIFFERENT if ran.different else int(bool(lacking)))


def _imported(stages: Stages, checkpoint: Path, options: dict[str, Any], path: Path) -> Imported:
    """Import ``checkpoint``, write it to ``path`` and print the report."""
    with stages.stage("import") as stage:
        stage(str(checkpoint))
        imported = import_checkpoint(checkpoint, **options)
        imported.save(path)
        stage.result = described(imported.network)
    show(imported)
    return imported


def _arrays(imported: Imported) -> dict[str, np.ndarray]:
    return {key: tensor.numpy() for key, tensor in {**imported.tensors, **imported.heads}.items()}


def _quantised(stages: Stages, imported: Imported, images: np.ndarray,
               written: dict[str, Path]) -> tuple[QuantisedModel, Fidelity]:
    """Quantise, write the model, and compare it with the float model on two images."""
    network = imported.network
    with stages.stage("quantise", layer_count(network)) as stage:
        integers = quantised(network, _arrays(imported), images, host=imported.host, watch=stage.step)
        integers.notes["checkpoint"] = written["safetensors"].name
        integers.save(written["npz"])
        stage.result = f"{layer_count(network)} layers"
    with stages.stage("compare") as stage:
        fidelity = compare(load_state(network, imported.tensors), integers, images[:2])
        stage.result = f"tokens {fidelity.sqnr['tokens']:.1f} dB against float"
    return integers, fidelity


def _run(stages: Stages, integers: QuantisedModel, machine: MachineConfig, image: np.ndarray,
         path: Path) -> tuple[Bundle, "_Ran"]:
    """Compile, write the bundle, and run one image on the golden machine."""
    with stages.stage("compile") as stage:
        bundle = compile_model(integers, machine)
        bundle.save(path)
        stage.result = f"{bundle.program_length} instructions, {len(bundle.weights):,} bytes of weights"
    with stages.stage("run") as stage:
        ran = _golden(bundle, integers, image)
        stage.result = f"golden machine against integer model: {ran.compared:,} values, {ran.different:,} differ"
    return bundle, ran


class _Ran(NamedTuple):
    """Number of values that golden machine and integer model computed, and of those that differ.

    ``logs`` and ``tokens``: reports and results of the golden machine, by task.
    """

    compared: int
    different: int
    logs: dict[str, RunReport]
    tokens: dict[str, np.ndarray]


def _golden(bundle: Bundle, model: QuantisedModel, image: np.ndarray) -> _Ran:
    """Run a picture on both for every task."""
    integer, different = IntegerModel(model), 0
    logs, found = {}, {}
    with opened("golden", bundle, lambda text: None, lambda cycles: None) as device, Accelerator(device) as accelerator:
        accelerator.load(bundle)
        for place, task in enumerate(bundle.tasks):
            found[task] = accelerator.run_raw(image, task)
            logs[task] = accelerator.report
            different += int(np.count_nonzero(found[task] != integer.run(image, place).tokens))
    return _Ran(sum(tokens.size for tokens in found.values()), different, logs, found)
