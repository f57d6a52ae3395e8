# SPDX-License-Identifier: Apache-2.0
"""The runs and the faults of a board, through the real pynq package over the RTL."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from moevit.host.errors import AccelError
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle

from ..board.simulated_board import SimulatedBoard
from .device import simulated_overlay
from .faults import ENDED, FAULTS, STALE, Station, forget_a_flush, leave_a_run_behind

__all__ = ["measure", "unexpected"]


def measure(bundle: Bundle, image: np.ndarray, expected: dict[str, np.ndarray], runs: int, board: SimulatedBoard,
            tell: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """``runs`` runs of ``image``, each with another task than the one before, then the faults. Returns figures.

    ``expected``: tokens s16 (N, D) by task, of at least two tasks. ``tell`` gets each step.
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
    """What is wrong in a result of `measure`, in words; empty if nothing is."""
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
