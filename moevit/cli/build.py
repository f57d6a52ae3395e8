# SPDX-License-Identifier: Apache-2.0
"""``moevit build``: from a checkpoint to a bundle that the golden machine has run, with a verdict."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from moevit.compiler.assemble import compile_model
from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import estimate
from moevit.estimator.onchip import shortages
from moevit.golden.importers import ImportFailed, import_checkpoint
from moevit.golden.integer.bounds import BoundsError
from moevit.golden.integer.model import IntegerModel
from moevit.golden.pictures import PictureError
from moevit.golden.quant.errors import QuantisationError
from moevit.golden.quant.fidelity import compare
from moevit.golden.quant.quantiser import layer_count
from moevit.golden.quant.quantiser import quantise as quantised
from moevit.golden.reference import CheckpointError, load_state
from moevit.host.errors import AccelError
from moevit.host.heads import HeadError
from moevit.host.report import RunReport
from moevit.host.runtime import Accelerator
from moevit.spec.boards import BOARDS
from moevit.spec.bundle import Bundle
from moevit.spec.isa import ProgramError
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from . import verdict
from .import_ import described, show
from .inside import look_inside
from .page import Facts, write_page
from .parse import pair
from .quantise import calibration, table
from .run import opened
from .screen import board_named, config_named, console, say, told
from .stages import Stages

DIFFERENT = 3  # exit code if the golden machine and the integer model differ


def build(
    checkpoint: Annotated[Path, typer.Argument(help="what moevit import reads, its output too")],
    board: Annotated[str, typer.Option(help=f"board class: {', '.join(BOARDS)}")],
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
    """Import, quantise, estimate, compile, run a picture on the golden machine; what else an import needs to be told,
    moevit import takes: give its output."""
    known = board_named(board)
    machine = config_named(config or known.config)
    name = checkpoint.stem
    written = {kind: output / f"{name}.{kind}" for kind in ("safetensors", "npz", "bundle")}
    with told(AccelError, BoundsError, CheckpointError, DoesNotFit, HeadError, ImportFailed, OSError, PictureError,
              ProgramError, QuantisationError, QuantisedModelError):
        if checkpoint.resolve() == written["safetensors"].resolve():
            raise OSError(f"{checkpoint} would be overwritten: give another folder with --output")
        stages = Stages(*written.values(), report)
        with stages.stage("import") as stage:
            stage(str(checkpoint))
            imported = import_checkpoint(checkpoint, image=pair(image, "--image"), family=family, state=state,
                                         model=model, normalise=normalise, heads=heads,
                                         leave_out=tuple(leave_out or ()))
            imported.save(written["safetensors"])
            network = imported.network
            stage.result = described(network)
        show(imported)
        with stages.stage("estimate") as stage:  # before the minutes of quantising
            found = estimate(network, machine, known)
            stage.result = (f"{board} with {machine.name}: {found.cycles:,} cycles, "
                            f"{known.milliseconds(found.cycles):.2f} ms at {known.clock_mhz:g} MHz (assumed)")
        with stages.stage("images") as stage:
            chosen = calibration(network, images, count, imported.host)
            stage.result = f"{len(chosen)} for calibration"
        with stages.stage("quantise", layer_count(network)) as stage:
            arrays = {key: tensor.numpy() for key, tensor in {**imported.tensors, **imported.heads}.items()}
            integers = quantised(network, arrays, chosen, host=imported.host, watch=stage.step)
            integers.notes["checkpoint"] = written["safetensors"].name
            integers.save(written["npz"])
            stage.result = f"{layer_count(network)} layers"
        with stages.stage("compare") as stage:
            fidelity = compare(load_state(network, imported.tensors), integers, chosen[:2])
            stage.result = f"tokens {fidelity.sqnr['tokens']:.1f} dB against float"
        with stages.stage("compile") as stage:
            bundle = compile_model(integers, machine)
            bundle.save(written["bundle"])
            stage.result = f"{bundle.program_length} instructions, {len(bundle.weights):,} bytes of weights"
        with stages.stage("run") as stage:
            ran = _golden(bundle, integers, chosen[0])
            compared, different = ran.compared, ran.different
            stage.result = f"golden machine against integer model: {compared:,} values, {different:,} differ"
    console.print(table(fidelity, network))
    warnings = verdict.show(integers, arrays, fidelity).warnings
    doubts = len(warnings)
    lacking = shortages(machine, known)
    for each in lacking:
        say(f"verdict: {machine.name} does not fit {board}: {each}", "red")
    if report:
        files = {"read": checkpoint, **{path.suffix[1:]: path for path in written.values()}}
        first = bundle.tasks[0]
        write_page(report, Facts(bundle, "golden", ran.logs, known, ran.tokens[first][None], files, model=integers,
                                 inside=look_inside(integers, chosen[0], first), fidelity=fidelity,
                                 warnings=(*lacking, *warnings), different=different, compared=compared), known)
        say(f"{report}: {report.stat().st_size:,} bytes")
    found = estimate(integers, machine, known)
    say(f"verdict: {compared:,} values, {different:,} differ; {doubts or 'no'} warning{'s' * (doubts > 1)}; "
        f"{known.milliseconds(found.cycles):.2f} ms on {board}: {written['bundle']}",
        "red" if different or lacking else "yellow" if doubts else "green")
    raise typer.Exit(DIFFERENT if different else int(bool(lacking)))


class _Ran(NamedTuple):
    """Values of a picture that the golden machine and the integer model compute, how many differ; what the golden
    machine logged and returned, by task."""

    compared: int
    different: int
    logs: dict[str, RunReport]
    tokens: dict[str, np.ndarray]


def _golden(bundle: Bundle, model: QuantisedModel, image: np.ndarray) -> _Ran:
    """Run a picture for every task."""
    integer, different = IntegerModel(model), 0
    logs, found = {}, {}
    with opened("golden", bundle, lambda text: None, lambda cycles: None) as device, Accelerator(device) as accelerator:
        accelerator.load(bundle)
        for place, task in enumerate(bundle.tasks):
            found[task] = accelerator.run_raw(image, task)
            logs[task] = accelerator.report
            different += int(np.count_nonzero(found[task] != integer.run(image, place).tokens))
    return _Ran(sum(tokens.size for tokens in found.values()), different, logs, found)
