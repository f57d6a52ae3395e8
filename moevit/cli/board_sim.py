# SPDX-License-Identifier: Apache-2.0
"""``moevit board-sim``: the host code of a board, through the real pynq package, over the RTL."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from moevit.host.errors import AccelError, WrongInput
from moevit.sim.board.scenes import read_scenes
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.pynq.trial import measure, unexpected
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle

from .screen import console, errors, told
from .simulate import DIFFERENT
from .stages import Stages


def board_sim(
    bundle: Annotated[Path, typer.Argument(help="bundle to run")],
    scenes: Annotated[Path, typer.Argument(help=".npz with images u8 (S, H, W, 3) and integer_<task> to compare")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help=".json to write")] = Path("build/board-sim.json"),
    runs: Annotated[int, typer.Option(min=2, help="runs, the task changing each time")] = 20,
) -> None:
    """Run the first scene through pynq, driver, AXI and RTL; provoke faults; exit 3 if anything is not as expected."""
    with told(AccelError, OSError, ValueError):  # BundleError is a ValueError
        loaded = Bundle.load(bundle)
        arrays = read_scenes(scenes, loaded, loaded.tasks)
        missing = [task for task in loaded.tasks if f"integer_{task}" not in arrays]
        if missing or len(loaded.tasks) < 2 or loaded.manifest["batch"] != 1:
            raise WrongInput(f"{scenes} needs integer_<task> for two tasks or more and a bundle for single images; "
                             f"missing: {', '.join(missing) or 'none'}")
        expected = {task: arrays[f"integer_{task}"][0] for task in loaded.tasks}
        stages = Stages(output)
        with stages.stage("open") as stage:
            board = SimulatedBoard(CONFIGS[loaded.manifest["config"]], trace=False, watch=stage,
                                   progress=lambda cycles: stages.show(f"{cycles:,} cycles"))
        with board, stages.stage("run") as stage:
            result = measure(loaded, arrays["images"][0], expected, runs, board, stage)
        result["wall_seconds"] = round(stages.seconds, 1)
        output.write_text(json.dumps(result, indent=2) + "\n")
    _print(result)
    wrong = unexpected(result)
    for each in wrong:
        errors.print(each, style="red", markup=False, soft_wrap=True)
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
