# SPDX-License-Identifier: Apache-2.0
"""``moevit simulate``: runs scenes on the RTL behind AXI, and compares the tokens with the integer model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.table import Column, Table

from moevit.host.errors import AccelError
from moevit.host.report import RunReport
from moevit.host.runtime import Accelerator
from moevit.kit.npz import write_npz
from moevit.kit.output import make_room
from moevit.sim.board.scenes import read_scenes
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle
from moevit.spec.parts import Part

from .screen import console, say, told
from .stages import Stages

DIFFERENT = 3  # exit code of a complete run with values that differ


def simulate(
    bundle: Annotated[Path, typer.Argument(help="bundle to run")],
    scenes: Annotated[Path, typer.Argument(help=".npz with images u8 (S, H, W, 3) and integer_<task> to compare")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help=".npz to write: rtl_<task> s16 (S, N, D), report")],
    task: Annotated[list[str] | None, typer.Option(help="task; all of them if left out")] = None,
    passes: Annotated[bool, typer.Option("--passes", help="print a table of every pass")] = False,
    latency: Annotated[int, typer.Option(help="read latency of the memory, cycles")] = 64,
    bandwidth: Annotated[float, typer.Option(help="beats per cycle that the memory can move")] = 1.0,
    stall: Annotated[float, typer.Option(help="probability of random back-pressure on every channel")] = 0.0,
    seed: Annotated[int, typer.Option(help="seed of the back-pressure")] = 1,
    waves: Annotated[Path | None, typer.Option(dir_okay=False, help="waveform file to write (.vcd; long)")] = None,
) -> None:
    """Run images through the RTL behind AXI; exit 3 if a value is not as expected."""
    with told(AccelError, OSError, ValueError):  # BundleError and settings out of range are ValueErrors
        loaded = Bundle.load(bundle)
        names = task or loaded.tasks
        arrays = read_scenes(scenes, loaded, names)
        memory = MemorySettings(read_latency=latency, bandwidth=bandwidth, stall=stall, seed=seed)
        stages = Stages(output)
        if waves:
            make_room(waves)
    with told(AccelError, OSError):
        different = _run(loaded, arrays, names, output, memory, waves, stages, passes)
    for name in names:
        if f"integer_{name}" not in arrays:
            say(f"nothing to compare with: no integer_{name} in {scenes}")
    raise typer.Exit(DIFFERENT if different else 0)


def _run(loaded: Bundle, arrays: dict[str, np.ndarray], names: Sequence[str], output: Path, memory: MemorySettings,
         waves: Path | None, stages: Stages, passes: bool) -> int:
    """Run every batch for every task, print, and write ``output``. Returns the number of values that differ."""
    config = CONFIGS[loaded.manifest["config"]]
    batches = arrays["images"].reshape(-1, loaded.manifest["batch"], *arrays["images"].shape[1:])
    different = 0
    results: dict[str, np.ndarray] = {}
    tasks: dict[str, dict[str, Any]] = {}
    with stages.stage("open") as stage:
        board = SimulatedBoard(config, memory=memory, trace=False, waves=waves, watch=stage,
                               progress=lambda cycles: stages.show(f"{cycles:,} cycles"))
        stage.result = f"{config.name}, simulated by Verilator"
    with board, Accelerator(board) as accelerator:
        accelerator.load(loaded)
        for name in names:
            with stages.stage("run", len(batches)) as stage:
                results[f"rtl_{name}"] = tokens = np.concatenate(
                    [_one(accelerator, batch, name, stage.step) for batch in batches])
                report = accelerator.report
                stage.result = f"task {name}: {report.cycles:,} cycles a frame"
            if passes:
                console.print(pass_table(report, config.macs_per_cycle))
            shares = ", ".join(f"{cause} {cycles / report.cycles:.0%}" for cause, cycles in report.stalls.items())
            used = report.macs / (report.cycles * config.macs_per_cycle)
            say(f"{name}: {report.cycles:,} cycles, {used:.1%} of the array's multiply-accumulates; {shares}")
            tasks[name] = {"cycles": report.cycles, "macs": report.macs, "stalls": report.stalls,
                           "bytes_read": report.counters["BYTES_READ"]}
            if f"integer_{name}" in arrays:
                wrong = int(np.count_nonzero(tokens != arrays[f"integer_{name}"]))
                different += wrong
                say(f"{name}: RTL == golden: {tokens.size:,} values, {wrong} differ", "red" if wrong else "green")
    summary = {"network": loaded.manifest["network"]["name"], "array": config.name, "tasks": tasks,
               "memory": {"read_latency": memory.read_latency, "beats_per_cycle": float(memory.bandwidth),
                          "stall": memory.stall},
               "wall_seconds": round(stages.seconds, 1)}
    results["report"] = np.frombuffer(json.dumps(summary).encode(), np.uint8)
    write_npz(output, results)
    return different


def _one(accelerator: Accelerator, batch: np.ndarray, task: str, done: Any) -> np.ndarray:
    tokens = accelerator.run_raw(batch, task, timeout=3600)
    done()
    return tokens


def pass_table(report: RunReport, macs_per_cycle: int) -> Table:
    """One line per finished instruction: cycles, the network's multiply-accumulates, and their share of the array."""
    numbers = [Column(name, justify="right", no_wrap=True)
               for name in ("rows", "cycles", "MACs", "of array", "bytes read")]
    table = Table(Column("pass", no_wrap=True), *numbers, title=f"task {report.task}", box=box.SIMPLE_HEAD,
                  pad_edge=False)
    for each in report.passes:
        name = f"{each.name}[{each.expert}]" if each.part in (Part.EXPERT_FC1, Part.EXPERT_FC2) else each.name
        share = each.macs / (each.cycles * macs_per_cycle) if each.cycles else 0
        table.add_row(name, str(each.rows), f"{each.cycles:,}", f"{each.macs:,}", f"{share:.0%}" if each.macs else "",
                      f"{each.bytes:,}" if each.bytes else "")
    total = report.macs / (report.cycles * macs_per_cycle)
    table.add_section()
    table.add_row("frame", "", f"{report.cycles:,}", f"{report.macs:,}", f"{total:.0%}",
                  f"{report.counters['BYTES_READ']:,}")
    return table
