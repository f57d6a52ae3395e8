# SPDX-License-Identifier: Apache-2.0
"""A table of all boards for one network."""

from dataclasses import dataclass
from math import ceil

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import Estimate, estimate
from moevit.estimator.onchip import budgets, shortages
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel

from .screen import console, say

__all__ = ["NEARLY_FULL", "NO_LUTS", "Candidate", "best", "candidates", "mark", "percent", "share", "show"]

NEARLY_FULL = 0.80  # of a budget; beyond it placement and routing become hard
NO_LUTS = "LUTs are not part of this estimate; docs/area.md has Yosys's counts"
_COLOURS = {"": "", "!": "yellow", "!!": "red"}


def mark(used: float, available: int) -> str:
    """``!`` if a budget is nearly full, ``!!`` if the board has less, otherwise empty."""
    return "!!" if used > available else "!" if used > NEARLY_FULL * available else ""


def percent(used: float, available: int) -> str:
    """Share of a budget in whole percent, never rounded to 100 from below or above."""
    share = 100 * used / available
    return f"{ceil(share) if share > 100 else min(round(share), 99 if share < 100 else 100)}%"


def share(used: float, available: int) -> Text:
    """A budget for a table: percent of those available, in amber or red with its mark."""
    if not available and not used:
        return Text("-")
    sign = mark(used, available)
    share = f"{percent(used, available)} of {available}" if available else f"{used:g} of 0"
    return Text(share + sign, _COLOURS[sign])


@dataclass(frozen=True)
class Candidate:
    """A board with the array that runs the network fastest on it, or the reason why none does."""

    board: Board
    found: Estimate | None
    reason: str = ""

    @property
    def budgets(self) -> dict[str, tuple[float, int]]:
        """Resource -> used, available."""
        return budgets(self.found.config, self.board) if self.found else {}

    @property
    def tight(self) -> list[str]:
        """The resources of which more than `NEARLY_FULL` is used."""
        return [name for name, each in self.budgets.items() if mark(*each)]

    @property
    def room(self) -> str:
        """What is nearly full, or that nothing is."""
        full = ", ".join(f"{name} {percent(*self.budgets[name])}" for name in self.tight)
        return f"nearly full: {full}" if full else f"no budget above {NEARLY_FULL:.0%}"

    @property
    def milliseconds(self) -> float:
        return self.board.milliseconds(self.found.cycles) if self.found else float("inf")


def candidates(network: Network | QuantisedModel, batch: int = 1, latency: int = 64,
               clock_mhz: float | None = None) -> list[Candidate]:
    """A candidate for each board: its own array, or if the network does not fit it, the fastest array that fits the
    board. ``clock_mhz``: clock of all machines, the board's own if left out."""
    return [_candidate(network, board.at(clock_mhz), batch, latency) for board in BOARDS.values()]


def best(found: list[Candidate]) -> Candidate | None:
    """The fastest candidate. Candidates with room in every budget come first, those above a budget last."""
    fitting = [each for each in found if each.found]
    return min(fitting, key=lambda each: (max(len(mark(*budget)) for budget in each.budgets.values()),
                                          each.milliseconds), default=None)


def show(network: Network | QuantisedModel, batch: int, latency: int, clock_mhz: float | None = None) -> bool:
    """Print the table. Returns whether any board runs the network."""
    found = candidates(network, batch, latency, clock_mhz)
    network = network if isinstance(network, Network) else network.network
    numbers = [Column(name, justify="right", no_wrap=True) for name in ("MHz", "cycles", "ms", "BRAM36", "URAM", "DSP")]
    table = Table(Column("board", no_wrap=True), Column("array", no_wrap=True), *numbers, box=SIMPLE_HEAD,
                  pad_edge=False, show_edge=False, padding=(0, 1, 0, 0),
                  title=f"{network.name} ({network.tokens} tokens), predicted, clocks assumed"
                  + (f", batch {batch}" if batch > 1 else ""))
    for each in found:
        if each.found is None:
            table.add_row(each.board.name, "none", "", "", "", "", "", "")
            continue
        table.add_row(each.board.name, each.found.config.name, f"{each.board.clock_mhz:g}", f"{each.found.cycles:,}",
                      f"{each.milliseconds:.2f}", *(share(*budget) for budget in each.budgets.values()))
    console.print(table)
    marks = {mark(*budget) for each in found for budget in each.budgets.values()}
    if "!" in marks:
        say(f"!  more than {NEARLY_FULL:.0%} of a budget: hard to place and route")
    if "!!" in marks:
        say("!! more than the board has")
    say(NO_LUTS)
    for each in found:
        if each.reason:
            say(f"{each.board.name}: {each.reason}")
    chosen = best(found)
    if chosen is None:
        say("fits no board", "red")
        return False
    assert chosen.found
    say(f"fits best: {chosen.board.name} with {chosen.found.config.name}, {chosen.milliseconds:.2f} ms at "
        f"{chosen.board.clock_mhz:g} MHz (assumed); {chosen.room}", "yellow" if chosen.tight else "green")
    return True


def _candidate(network: Network | QuantisedModel, board: Board, batch: int, latency: int) -> Candidate:
    own = CONFIGS[board.config]
    try:
        return Candidate(board, estimate(network, own, board, batch=batch, read_latency=latency))
    except DoesNotFit as error:
        reason = str(error)
    others = []
    for config in CONFIGS.values():
        if config is not own and not shortages(config, board):
            try:
                others.append(estimate(network, config, board, batch=batch, read_latency=latency))
            except DoesNotFit:
                continue
    found = min(others, key=lambda each: each.cycles, default=None)
    return Candidate(board, found, f"{reason}; {found.config.name if found else 'none'} does on {board.name}")
