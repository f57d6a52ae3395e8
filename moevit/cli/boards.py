# SPDX-License-Identifier: Apache-2.0
"""A table of all boards for one network."""

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import Estimate, estimate
from moevit.estimator.onchip import dsp_slices, on_chip, shortages
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel

from .screen import console, say

__all__ = ["Candidate", "best", "candidates", "show"]

TIGHT = 0.95  # of a budget; beyond it placement and routing become hard


@dataclass(frozen=True)
class Candidate:
    """A board with the array that runs the network fastest on it, or the reason why none does."""

    board: Board
    found: Estimate | None
    reason: str = ""

    @property
    def budgets(self) -> dict[str, tuple[float, int]]:
        """Resource -> used, available."""
        if self.found is None:
            return {}
        config = self.found.config
        memories = on_chip(config, self.board.uram)
        return {"BRAM36": (sum(each.bram36 for each in memories), self.board.bram36),
                "URAM": (sum(each.uram for each in memories), self.board.uram),
                "DSP": (dsp_slices(config), self.board.dsp)}

    @property
    def tight(self) -> list[str]:
        """The resources of which more than `TIGHT` is used."""
        return [name for name, (used, available) in self.budgets.items() if used > TIGHT * available]

    @property
    def milliseconds(self) -> float:
        return self.board.milliseconds(self.found.cycles) if self.found else float("inf")


def candidates(network: Network | QuantisedModel, batch: int = 1, latency: int = 64) -> list[Candidate]:
    """A candidate for each board: its own array, or if the network does not fit it, the fastest array that fits the
    board."""
    return [_candidate(network, board, batch, latency) for board in BOARDS.values()]


def best(found: list[Candidate]) -> Candidate | None:
    """The fastest candidate. Candidates with room in every budget come first."""
    fitting = [each for each in found if each.found]
    return min(fitting, key=lambda each: (bool(each.tight), each.milliseconds), default=None)


def show(network: Network | QuantisedModel, batch: int, latency: int) -> bool:
    """Print the table. Returns whether any board runs the network."""
    found = candidates(network, batch, latency)
    network = network if isinstance(network, Network) else network.network
    numbers = [Column(name, justify="right", no_wrap=True) for name in ("cycles", "ms", "BRAM36", "URAM", "DSP")]
    table = Table(Column("board", no_wrap=True), Column("array", no_wrap=True), *numbers, box=SIMPLE_HEAD,
                  pad_edge=False, show_edge=False, padding=(0, 1, 0, 0),
                  title=f"{network.name} ({network.tokens} tokens), predicted"
                  + (f", batch {batch}" if batch > 1 else ""))
    for each in found:
        if each.found is None:
            table.add_row(each.board.name, "none", "", "", "", "", "")
            continue
        budgets = [f"[yellow]{used:g} of {of}![/yellow]" if name in each.tight else f"{used:g} of {of}"
                   for name, (used, of) in each.budgets.items()]
        table.add_row(each.board.name, each.found.config.name, f"{each.found.cycles:,}", f"{each.milliseconds:.2f}",
                      *budgets)
    console.print(table)
    if any(each.tight for each in found):
        say(f"!  more than {TIGHT:.0%} of a budget: hard to place and route")
    for each in found:
        if each.reason:
            say(f"{each.board.name}: {each.reason}")
    chosen = best(found)
    if chosen is None:
        say("fits no board", "red")
        return False
    assert chosen.found
    room = f", no budget above {TIGHT:.0%}" if not chosen.tight else ""
    say(f"fits best: {chosen.board.name} with {chosen.found.config.name}, {chosen.milliseconds:.2f} ms at "
        f"{chosen.board.clock_mhz:g} MHz (assumed){room}", "green")
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
