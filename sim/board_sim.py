# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.sim.board_sim``: what a board would run, through the real pynq package over the RTL."""

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from moevit.host.errors import AccelError, WrongInput
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle
from moevit.spec.output import make_room

from .__main__ import DIFFERENT, read_scenes
from .board import SimulatedBoard
from .board_faults import ENDED, FAULTS, STALE, Station, forget_a_flush, leave_a_run_behind
from .progress import status
from .pynq_device import simulated_overlay

__all__ = ["main", "measure", "unexpected"]

console = Console()


def measure(bundle: Bundle, image: np.ndarray, expected: dict[str, np.ndarray], runs: int, board: SimulatedBoard,
            tell: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """``runs`` runs of ``image`` with the task changing each time, then the faults; what was measured, for JSON.

    ``expected`` s16 (N, D) by task, at least two tasks.
    """
    config = CONFIGS[bundle.manifest["config"]]
    with simulated_overlay(config, board=board) as overlay:
        tell("a killed process")
        faults = {"run left behind by a killed process": leave_a_run_behind(board, overlay, bundle)}
        with Accelerator(overlay) as accelerator:
            accelerator.load(bundle)
            station = Station(board, overlay, accelerator, bundle, image, expected)
            compared, different, switches, cycles = 0, 0, [], {}
            tasks = list(expected)
            for index in range(runs):
                tell(f"run {index + 1} of {runs}")
                task = tasks[index % len(tasks)]
                before = overlay.device.register_writes
                accelerator.select(task)
                if index:
                    switches.append(overlay.device.register_writes - before)
                tokens = accelerator.run_raw(image, task, timeout=3600)
                compared, different = compared + tokens.size, different + _differ(tokens, expected[task])
                cycles[task] = accelerator.report.cycles
            for name, (provoke, _) in FAULTS.items():
                tell(name)
                faults[name] = _raised(provoke, station)
                tokens = station.run()
                compared, different = compared + tokens.size, different + _differ(tokens, expected[station.task])
            tell("a forgotten flush")
            faults["image not flushed"] = forget_a_flush(station)
    return {"network": bundle.manifest["network"]["name"], "array": config.name, "runs": runs, "tasks": tasks,
            "cycles": cycles, "values_compared": compared, "values_different": different,
            "task_switch_register_writes": max(switches), "task_switches": len(switches), "faults": faults,
            "pynq": version("pynq")}


def unexpected(result: dict[str, Any]) -> list[str]:
    """What in a result is not as it must be, in words."""
    wanted = {"run left behind by a killed process": ENDED, "image not flushed": STALE,
              **{name: error.__name__ for name, (_, error) in FAULTS.items()}}
    wrong = [f"{name}: {result['faults'].get(name)}, not {outcome}" for name, outcome in wanted.items()
             if result["faults"].get(name) != outcome]
    if result["values_different"]:
        wrong.append(f"{result['values_different']:,} values differ from the integer model's")
    if result["task_switch_register_writes"] != 1:
        wrong.append(f"a task switch took {result['task_switch_register_writes']} register writes")
    return wrong


def _differ(tokens: np.ndarray, expected: np.ndarray) -> int:
    return int(np.count_nonzero(tokens != expected))


def _raised(provoke: Callable[[Station], Any], station: Station) -> str:
    try:
        provoke(station)
    except AccelError as error:
        return type(error).__name__
    return "nothing"


def main(
    bundle: Annotated[Path, typer.Argument(help="bundle to run")],
    scenes: Annotated[Path, typer.Argument(help=".npz with images u8 (S, H, W, 3) and integer_<task> to compare")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help=".json to write")] = Path("build/board-sim.json"),
    runs: Annotated[int, typer.Option(min=2, help="runs, the task changing each time")] = 20,
) -> None:
    """Run the first scene through pynq, driver, AXI and RTL; provoke faults; exit 3 if anything is not as expected."""
    try:
        loaded = Bundle.load(bundle)
        arrays = read_scenes(scenes, loaded, loaded.tasks)
        missing = [task for task in loaded.tasks if f"integer_{task}" not in arrays]
        if missing or len(loaded.tasks) < 2 or loaded.manifest["batch"] != 1:
            raise WrongInput(f"{scenes} needs integer_<task> for two tasks or more and a bundle for single images; "
                             f"missing: {', '.join(missing) or 'none'}")
        expected = {task: arrays[f"integer_{task}"][0] for task in loaded.tasks}
        make_room(output)
        began = time.monotonic()
        with SimulatedBoard(CONFIGS[loaded.manifest["config"]], trace=False) as board, status("Opening") as line:
            result = measure(loaded, arrays["images"][0], expected, runs, board, line.update)
        result["wall_seconds"] = round(time.monotonic() - began, 1)
        output.write_text(json.dumps(result, indent=2) + "\n")
    except (AccelError, OSError, ValueError) as error:  # BundleError is a ValueError
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _print(result)
    wrong = unexpected(result)
    for each in wrong:
        console.print(each, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(DIFFERENT if wrong else 0)


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['network']} on {result['array']}, pynq {result['pynq']} over the RTL", box=None,
                  show_header=False, title_justify="left")
    table.add_row("runs", f"{result['runs']}, tasks {', '.join(result['tasks'])}")
    table.add_row("values against the integer model",
                  f"{result['values_compared']:,}, {result['values_different']} differ")
    table.add_row("register writes of a task switch", f"{result['task_switch_register_writes']} "
                  f"({result['task_switches']} switches)")
    for name, outcome in result["faults"].items():
        table.add_row(name, outcome)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
