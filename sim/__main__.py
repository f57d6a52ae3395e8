# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.sim``: run a bundle on the simulated board."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from moevit.host.errors import AccelError, WrongInput
from moevit.host.report import RunReport
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle
from moevit.spec.npz import NpzError, read_npz, write_npz
from moevit.spec.output import make_room

from .board import SimulatedBoard
from .settings import MemorySettings

console = Console()

DIFFERENT = 3  # exit code of a run that ended, with values other than expected


def pass_table(report: RunReport, macs_per_cycle: int) -> Table:
    """One line per finished instruction: cycles, the network's multiply-accumulates and their share of the array."""
    numbers = [Column(name, justify="right", no_wrap=True)
               for name in ("rows", "cycles", "MACs", "of array", "bytes read")]
    table = Table(Column("pass", no_wrap=True), *numbers, title=f"task {report.task}", box=box.SIMPLE_HEAD,
                  pad_edge=False)
    for each in report.passes:
        name = f"{each.name}[{each.expert}]" if ".moe.fc" in each.name else each.name
        share = each.macs / (each.cycles * macs_per_cycle) if each.cycles else 0
        table.add_row(name, str(each.rows), f"{each.cycles:,}", f"{each.macs:,}", f"{share:.0%}" if each.macs else "",
                      f"{each.bytes:,}" if each.bytes else "")
    total = report.macs / (report.cycles * macs_per_cycle)
    table.add_section()
    table.add_row("frame", "", f"{report.cycles:,}", f"{report.macs:,}", f"{total:.0%}",
                  f"{report.counters['BYTES_READ']:,}")
    return table


def main(
    bundle: Annotated[Path, typer.Argument(help="bundle to run")],
    scenes: Annotated[Path, typer.Argument(help=".npz with images u8 (S, H, W, 3) and integer_<task> to compare")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help=".npz to write: rtl_<task> s16 (S, N, D), report")],
    task: Annotated[list[str] | None, typer.Option(help="task; all of them if left out")] = None,
    latency: Annotated[int, typer.Option(help="read latency of the memory, cycles")] = 64,
    bandwidth: Annotated[float, typer.Option(help="beats per cycle that the memory can move")] = 1.0,
    stall: Annotated[float, typer.Option(help="probability of random back-pressure on every channel")] = 0.0,
    seed: Annotated[int, typer.Option(help="seed of the back-pressure")] = 1,
    waves: Annotated[Path | None, typer.Option(dir_okay=False, help="waveform file to write (.vcd; long)")] = None,
) -> None:
    """Run images through the RTL behind AXI; print a table per task; exit 3 if a value is not as expected."""
    try:
        loaded = Bundle.load(bundle)
        names = task or loaded.tasks
        arrays = read_scenes(scenes, loaded, names)
        memory = MemorySettings(read_latency=latency, bandwidth=bandwidth, stall=stall, seed=seed)
        for path in filter(None, (output, waves)):
            make_room(path)
    except (AccelError, OSError, ValueError) as error:  # BundleError and settings out of range are ValueErrors
        raise _stop(error) from error
    try:
        different = _run(loaded, arrays, names, output, memory, waves)
    except (AccelError, OSError) as error:
        raise _stop(error) from error
    for name in names:
        if f"integer_{name}" not in arrays:
            console.print(f"nothing to compare with: no integer_{name} in {scenes}", markup=False, soft_wrap=True)
    raise typer.Exit(DIFFERENT if different else 0)


def _stop(error: Exception) -> typer.Exit:
    console.print(str(error), style="red", markup=False, soft_wrap=True)
    return typer.Exit(1)


def read_scenes(path: Path, bundle: Bundle, tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a file of scenes, if they fit ``bundle``: told before the minutes of a build. Raises WrongInput."""
    manifest = bundle.manifest
    try:
        arrays = read_npz(path)
    except NpzError as error:
        raise WrongInput(f"{path}: {error}") from error
    if manifest["config"] not in CONFIGS:
        raise WrongInput(f"the bundle is for configuration {manifest['config']}", fix=f"There are {', '.join(CONFIGS)}")
    for task in tasks:
        if task not in bundle.tasks:
            raise WrongInput(f"no task is called {task!r}", fix=f"The tasks are {', '.join(bundle.tasks)}")
    shape = (manifest["image"]["height"], manifest["image"]["width"], 3)
    images = arrays.get("images", np.zeros(0))
    if images.shape[1:] != shape or images.dtype != np.uint8 or not len(images):
        raise WrongInput(f"{path}: images are {images.dtype}{list(images.shape)}, the network takes uint8 "
                         f"{['scenes', *shape]}")
    if len(images) % manifest["batch"]:
        raise WrongInput(f"{path}: {len(images)} scenes are no whole batches of {manifest['batch']}",
                         fix="Compile with a --batch that divides them")
    wanted = (len(images), manifest["output"]["tokens"], manifest["output"]["dim"])
    for name in (f"integer_{task}" for task in tasks):
        if name in arrays and (arrays[name].shape != wanted or arrays[name].dtype.kind not in "iu"):
            raise WrongInput(f"{path}: {name} is {arrays[name].dtype}{list(arrays[name].shape)}, the machine writes "
                             f"int16{list(wanted)}")
    return arrays


def _run(loaded: Bundle, arrays: dict[str, np.ndarray], names: Sequence[str], output: Path, memory: MemorySettings,
         waves: Path | None) -> int:
    """Run every batch for every task, print, write ``output``; the number of values that are not as expected."""
    config = CONFIGS[loaded.manifest["config"]]
    batches = arrays["images"].reshape(-1, loaded.manifest["batch"], *arrays["images"].shape[1:])
    began, different = time.monotonic(), 0
    results: dict[str, np.ndarray] = {}
    tasks: dict[str, dict[str, object]] = {}
    with SimulatedBoard(config, memory=memory, trace=False, waves=waves) as board, Accelerator(board) as accelerator:
        accelerator.load(loaded)
        for name in names:
            tokens = np.concatenate([accelerator.run_raw(batch, name, timeout=3600) for batch in batches])
            results[f"rtl_{name}"], report = tokens, accelerator.report
            console.print(pass_table(report, config.macs_per_cycle))
            shares = ", ".join(f"{cause} {cycles / report.cycles:.0%}" for cause, cycles in report.stalls.items())
            console.print(f"{report.cycles:,} cycles: {shares}")
            tasks[name] = {"cycles": report.cycles, "macs": report.macs, "stalls": report.stalls,
                           "bytes_read": report.counters["BYTES_READ"]}
            if f"integer_{name}" in arrays:
                wrong = int(np.count_nonzero(tokens != arrays[f"integer_{name}"]))
                different += wrong
                console.print(f"RTL == golden: {tokens.size:,} values, {wrong} differ\n",
                              style="red" if wrong else "green")
    summary = {"network": loaded.manifest["network"]["name"], "array": config.name, "tasks": tasks,
               "memory": {"read_latency": memory.read_latency, "beats_per_cycle": float(memory.bandwidth),
                          "stall": memory.stall},
               "wall_seconds": round(time.monotonic() - began, 1)}
    results["report"] = np.frombuffer(json.dumps(summary).encode(), np.uint8)
    write_npz(output, results)
    return different


if __name__ == "__main__":
    typer.run(main)
