# SPDX-License-Identifier: Apache-2.0
"""One frame on the RTL: its cycles, their use, and whether every output value equals the integer model's."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from moevit import compiler, host, sim, spec
from moevit.compiler.assemble import compile_model
from moevit.estimator.estimate import Estimate, estimate
from moevit.host.report import RunReport
from moevit.host.runtime import Accelerator
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.machine import machine_bench
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.bundle import Bundle

from .case import TASK, Case, make_case
from .rows import Row

__all__ = ["BINS", "READ_LATENCY", "FrameRun", "measure", "measure_case"]

READ_LATENCY = 64
#: The picture counts bus beats in this many equal parts of a frame.
BINS = 600


@dataclass(frozen=True)
class FrameRun:
    """A measured row. ``figures`` go into ``bench.json``; the rest is for the picture.

    ``passes``: part, expert and last cycle, as the machine logged them. ``beats``: bus beats requested in each of
    `BINS` equal parts of the frame. ``predicted``, by the performance model: part, first row, end, busy cycles.
    """

    figures: dict[str, Any]
    passes: list[tuple[str, int, int]]
    beats: list[int]
    predicted: list[tuple[str, float, float, int]]


def measure(row: Row, root: Path, progress: Callable[[str, float], None]) -> FrameRun:
    """Run ``row``, or read its result from ``root`` if none of its sources has changed.

    ``progress(activity, share)`` is called with the current activity and the simulated share of the frame.
    """
    progress("weights and integer model", 0)
    return measure_case(row, make_case(row.network, row.batch, root / "cases"), root, progress)


def measure_case(row: Row, case: Case, root: Path, progress: Callable[[str, float], None]) -> FrameRun:
    """`measure` with the weights and images of ``case``."""
    progress("compiling", 0)
    bundle = compile_model(case.model, row.config, batch=row.batch)
    progress("generating Verilog", 0)
    design = machine_bench(row.config, trace=False)
    kept = root / "frames" / f"{row.name}-{_digest(row, case, bundle, design.files)}.json"
    if kept.exists():
        return FrameRun(**json.loads(kept.read_text()))
    memory = MemorySettings(read_latency=READ_LATENCY,
                            bandwidth=Fraction(row.board.bandwidth(row.config)).limit_denominator(1000))
    progress("building the simulation", 0)
    early = {block: int(case.model[f"blocks.{block}.moe.speculate"]) for block in case.loads}
    expected = estimate(row.network, row.config, row.board, batch=row.batch, read_latency=READ_LATENCY,
                        loads=case.loads, speculate=early)
    with SimulatedBoard(row.config, memory=memory, trace=False, clock_hz=row.board.clock_mhz * 1e6,
                        progress=lambda done: progress("simulating", done / expected.cycles)) as board, \
            Accelerator(board) as accelerator:
        accelerator.load(bundle)
        board.clear_records()
        tokens = accelerator.run_raw(case.images, row.network.tasks[TASK], timeout=3600)
        frame = _frame(row, case, expected, accelerator.report, tokens, board.bursts())
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(frame)))
    partial.replace(kept)
    return frame


def _digest(row: Row, case: Case, bundle: Bundle, files: dict[str, str]) -> str:
    """A hash of everything that a frame depends on: board, Verilog, bundle, images, tokens, and the Python sources."""
    digest = hashlib.sha256(json.dumps([asdict(row.board), READ_LATENCY, files]).encode())
    for part in (json.dumps(bundle.manifest).encode(), bundle.program, bundle.weights, bundle.gates,
                 case.images.tobytes(), case.tokens.tobytes()):
        digest.update(part)
    folders = [Path(next(iter(package.__path__))) for package in (compiler, host, sim, spec)]
    sources = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".cpp")]
    for path in (Path(__file__), *sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _frame(row: Row, case: Case, predicted: Estimate, report: RunReport, tokens: np.ndarray,
           bursts: np.ndarray) -> FrameRun:
    config, board = row.config, row.board
    reads = bursts[bursts["write"] == 0]
    cycles = (reads["cycle"] - reads["cycle"][0]).astype(np.int64)  # the machine reads the program first
    beats, _ = np.histogram(cycles, BINS, (0, report.cycles), weights=reads["beats"] / config.ports)  # bus beats
    bytes_read = report.counters["BYTES_READ"]
    figures = {
        "class": board.name,
        "network": row.network.name,
        "array": config.name,
        "batch": row.batch,
        "cycles": report.cycles,
        "clock_mhz": board.clock_mhz,
        "ms": board.milliseconds(report.cycles),
        "macs": predicted.macs,
        "macs_per_cycle": predicted.macs / report.cycles,
        "mac_dsps": config.macs_per_cycle // (2 if config.packed else 1),
        "bytes_read": bytes_read,
        "ddr_bound_cycles": round(board.memory_cycles(config, bytes_read)),
        "compute_bound_cycles": round(predicted.compute_bound),
        "predicted_cycles": predicted.cycles,
        "stalls": report.stalls,
        "bit_exact": bool(np.array_equal(tokens, case.tokens)),
        "different": int((tokens != case.tokens).sum()),
        "values": int(tokens.size),
        "weights": case.weights,
    }
    return FrameRun(figures, [(each.part.value, each.expert, each.end) for each in report.passes],
                 beats.round().astype(int).tolist(),
                 [(each.part.value, each.start, each.end, each.busy) for each in predicted.timing.passes])
