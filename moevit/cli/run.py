# SPDX-License-Identifier: Apache-2.0
"""``moevit run``: pictures through a bundle on the RTL, the golden machine or a board."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import estimate
from moevit.golden.pictures import PictureError, read_pictures
from moevit.host.arena import shared_bytes
from moevit.host.errors import AccelError, MissingFile, WrongInput
from moevit.host.heads import Head, HeadError, read_heads
from moevit.host.runtime import Accelerator
from moevit.kit.npz import write_npz
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import Board
from moevit.spec.bundle import Bundle, BundleError
from moevit.spec.networks import Network, NetworkError
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from ..inside import beside
from .page import RunFacts, board_of, explain, page_named, write_page
from .screen import board_named, say, told
from .stages import Stages

HOURS = 36_000.0  # seconds of the machine's time: a simulation has no limit in practice


def run(
    bundle: Annotated[Path, typer.Argument(help="compiled model (.bundle)")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="PNG, JPEG, or .npy of u8 (H, W, 3); as "
                                                                              "many as a batch, or several of them")],
    on: Annotated[str, typer.Option(metavar="rtl|golden|BITFILE", help="what it runs on: the simulated RTL, the golden "
                                                                       "machine in numpy, or a board")] = "golden",
    task: Annotated[str | None, typer.Option(help="the first one if left out")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help=(
        ".npz to write: tokens f32 (pictures, tokens, dim), integers s16, outputs_HEAD"))] = None,
    top: Annotated[int, typer.Option(min=1, help="classes to print")] = 5,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="page of the first run to write (.html)")] = None,
    model: Annotated[Path | None, typer.Option(dir_okay=False, help=(
        "for --report: the quantised model (.npz); NAME.npz or model.npz beside the bundle if left out"))] = None,
    board: Annotated[str | None, typer.Option(help=(
        "for --report: the board whose clock and budgets are shown and whose memory the simulated RTL has"))] = None,
) -> None:
    """Run pictures; print cycles and classes, write tokens and a page."""
    known = board_named(board) if board else None
    with told(AccelError, BundleError, HeadError, NetworkError, OSError, PictureError, QuantisedModelError, ValueError):
        page_named(report)
        stages = Stages(output, report)
        loaded = Bundle.load(bundle)
        task, images = _checked(loaded, task, pictures)
        network = Network.from_fields(loaded.manifest["network"])
        model, quantised = _model_of(bundle, network, model) if report else (None, None)
        heads = _heads_of(loaded, network, task)
        results: dict[str, list[np.ndarray]] = {}
        with stages.stage("open") as stage:
            machine = opened(on, loaded, stage, lambda cycles: stages.show(done=cycles), known)
            accelerator = Accelerator(machine)
            accelerator.load(loaded)
            stage.result = f"{network.name} on {loaded.manifest['config']}, {_called(on)}"
        with accelerator:
            for index, batch in enumerate(images):
                names = pictures[index * len(batch):][:len(batch)]
                with stages.stage("run", _predicted(network, loaded) if on == "rtl" else 0) as stage:
                    stage(", ".join(path.name for path in names))
                    if on == "rtl":
                        machine.clear_records()
                    integers = accelerator.run_raw(batch, task, timeout=HOURS if on == "rtl" else None)
                    cycles = accelerator.report.cycles
                    stage.result = f"{stage.detail}, task {task}" + (f": {cycles:,} cycles" if cycles else "")
                tokens = integers.astype(np.float32) / np.float32(1 << loaded.manifest["output"]["fraction"])
                found = {name: head(tokens) for name, head in heads.items()}
                for key, value in {"integers": integers, "tokens": tokens,
                                   **{f"outputs_{name}": each for name, each in found.items()}}.items():
                    results.setdefault(key, []).append(value)
                if report and not index:
                    facts = _facts(accelerator, task, on, known, integers, names[0])
                for number, path in enumerate(names):
                    _print(path, {name: each[number] for name, each in found.items()}, heads, top)
        if not isinstance(machine, Path):
            machine.close()
        _write(output, results)
        if report:
            with stages.stage("report") as stage:
                explain(facts, images[0], bundle, model, quantised, stage)
                write_page(report, facts, known if on == "rtl" else facts.board)
                stage.result = str(report)


def _facts(accelerator: Accelerator, task: str, on: str, board: Board | None, integers: np.ndarray,
           picture: Path) -> RunFacts:
    """What the page tells of the run that has just ended; bursts only where the simulated memory records them."""
    loaded = accelerator.bundle
    machine: Any = accelerator.device  # only a simulated board has `bursts`
    facts = RunFacts(loaded, on if on in ("rtl", "golden") else "board", {task: accelerator.report},
                     board or board_of(loaded), integers, {"picture": picture})
    if on == "rtl":
        facts.bursts, facts.addresses = machine.bursts(), accelerator.addresses
    return facts


def _heads_of(bundle: Bundle, network: Network, task: str) -> dict[str, Head]:
    """The heads that read tokens of ``task``. Raises HeadError."""
    heads = read_heads(network, bundle.heads, bundle.manifest["host"])
    return {name: head for name, head in heads.items() if head.task in (None, task)}


def _model_of(bundle: Path, network: Network, model: Path | None) -> tuple[Path | None, QuantisedModel | None]:
    """The quantised model that ``--model`` names, or that lies beside the bundle, with its file. Raises WrongInput if
    ``--model`` is of another network, QuantisedModelError."""
    path = model or beside(bundle)
    found = QuantisedModel.load(path) if path else None
    if model and found and found.network != network:
        raise WrongInput(f"--model {model} is of another network than {bundle.name}",
                         fix=f"Give the model that {bundle.name} was compiled from")
    return path, found


def _write(path: Path | None, results: dict[str, list[np.ndarray]]) -> None:
    if path:
        write_npz(path, {name: np.concatenate(each) for name, each in results.items()})
        say(f"{path}: {', '.join(results)}")


def opened(on: str, bundle: Bundle, watch: Callable[[str], object], progress: Callable[[int], None],
           board: Board | None = None) -> Any:
    """A device, or the path of a bitstream, for an Accelerator. Raises AccelError.

    A simulation gets the memory of ``board``; without it, a memory of one bus beat per cycle.
    """
    config = CONFIGS.get(bundle.manifest["config"])
    if on not in ("rtl", "golden"):
        if not Path(on).exists():
            raise MissingFile(f"{on} is not there", fix="Say --on rtl, --on golden, or give a bitstream's file")
        return Path(on)
    if config is None:
        raise WrongInput(f"the bundle is for configuration {bundle.manifest['config']}",
                         fix=f"There are {', '.join(CONFIGS)}")
    memory = max(shared_bytes(bundle), 1 << 26)
    if on == "golden":
        from moevit.golden.machine.device import GoldenDevice

        return GoldenDevice(config, memory)
    from moevit.sim.board.simulated_board import SimulatedBoard
    from moevit.sim.verilator.settings import MemorySettings

    bandwidth = Fraction(board.bandwidth(config) if board else 1).limit_denominator(1000)
    return SimulatedBoard(config, memory=MemorySettings(bandwidth=bandwidth), trace=False, watch=watch,
                          progress=progress, memory_bytes=memory)


def _checked(bundle: Bundle, task: str | None, pictures: list[Path]) -> tuple[str, np.ndarray]:
    """The task, and the pictures u8 (batches, batch, H, W, 3). Raises WrongInput, PictureError."""
    task = task or bundle.tasks[0]
    if task not in bundle.tasks:
        raise WrongInput(f"no task is called {task!r}", fix=f"The tasks are {', '.join(bundle.tasks)}")
    batch, image = bundle.manifest["batch"], bundle.manifest["image"]
    if len(pictures) % batch:
        raise WrongInput(f"{len(pictures)} pictures are no whole batches of {batch}", fix=f"Give {batch}, or compile "
                         "with a --batch that divides them")
    size = image["height"], image["width"]
    images = read_pictures(pictures, size, bundle.manifest["host"].get("preprocess", {}))
    return task, images.reshape(-1, batch, *images.shape[1:])


def _called(on: str) -> str:
    return {"rtl": "the simulated RTL", "golden": "the golden machine, which keeps no time"}.get(on, on)


def _predicted(network: Network, bundle: Bundle) -> float:
    """Predicted cycles, for the progress bar."""
    try:
        return estimate(network, CONFIGS[bundle.manifest["config"]], batch=bundle.manifest["batch"]).cycles
    except DoesNotFit:
        return 0


def _print(path: Path, outputs: dict[str, np.ndarray], heads: dict[str, Head], top: int) -> None:
    for name, values in outputs.items():
        head = heads[name]
        if values.ndim > 1 or head.weight is None:
            say(f"{path.name}: {name}, {' x '.join(map(str, values.shape))} values")
            continue
        chances = np.exp(values - values.max())
        chances /= chances.sum()
        for place in np.argsort(-values, kind="stable")[:top]:
            label = head.classes[place] if head.classes else f"class {place}"
            say(f"{path.name}: {name} {chances[place]:6.1%}  {label}")
