# SPDX-License-Identifier: Apache-2.0
"""``moevit estimate``: cycles, bytes and on-chip memory, before anything is built."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import Estimate
from moevit.estimator.estimate import estimate as predict
from moevit.estimator.onchip import budgets, dsp_slices, on_chip, shortages
from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import NETWORKS, Network, NetworkError
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from ..files import FileError, shape_of
from . import boards
from .parse import ClockOption, pair
from .screen import board_named, config_named, console, errors, say, told


def estimate(
    network: Annotated[str, typer.Argument(help=f"quantised model (.npz), checkpoint (.safetensors), or one of "
                                                f"{', '.join(NETWORKS)}")],
    config: Annotated[str | None, typer.Option(help=f"array configuration, the board's if left out: "
                                                    f"{', '.join(CONFIGS)}")] = None,
    board: Annotated[str | None, typer.Option(help=f"board: {', '.join(BOARDS)}; all if left out")] = None,
    batch: Annotated[int, typer.Option(min=1, help="images at a time")] = 1,
    image: Annotated[str | None, typer.Option(metavar="HxW", help="image in pixels, as in 480x640; the network's own "
                                                                  "if left out")] = None,
    latency: Annotated[int, typer.Option(min=2, max=1_000_000, help="read latency of the memory, cycles")] = 64,
    clock: ClockOption = None,
) -> None:
    """Predict cycles, bytes and on-chip memory from the network's shape; exit 1 if it does not fit."""
    if network not in NETWORKS and not Path(network).exists():
        raise typer.BadParameter(f"no network and no file is called {network!r}; there are {', '.join(NETWORKS)}")
    with told(FileError, OSError, QuantisedModelError):
        known = NETWORKS[network] if network in NETWORKS else shape_of(network)
    if size := pair(image, "--image"):
        try:
            known = (known if isinstance(known, Network) else known.network).for_image(*size)
        except NetworkError as error:
            raise typer.BadParameter(str(error)) from error
    if board is None and config is None:
        raise typer.Exit(int(not boards.show(known, batch, latency, clock)))
    if board is None and clock is not None:
        raise typer.BadParameter("a clock needs a --board, whose memory it is compared with", param_hint="--clock")
    _one(known, config, board_named(board).at(clock) if board else None, batch, latency)


def _one(network: Network | QuantisedModel, config: str | None, board: Board | None, batch: int, latency: int) -> None:
    """Print the estimate of one array in detail."""
    machine = config_named(config or (board.config if board else ""))
    lacking = shortages(machine, board) if board else []
    try:
        found = predict(network, machine, board, batch=batch, read_latency=latency)
        console.print(_figures(found, board))
    except DoesNotFit as error:
        lacking.append(str(error))
    _print_memories(machine, board)
    for reason in lacking:
        errors.print(f"does not fit: {reason}", style="red", markup=False, soft_wrap=True)
    if lacking:
        raise typer.Exit(1)


def _figures(found: Estimate, board: Board | None) -> Table:
    """A table of cycles and of the bounds below them."""
    table = Table(show_header=False, box=None, title=f"{found.network.name} on {found.config.name}"
                  + (f", {board.name}" if board else "") + (f", batch {found.batch}" if found.batch > 1 else ""))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    slices = dsp_slices(found.config)
    bound = "memory" if found.memory_bound > found.compute_bound else "compute"
    rows = [("cycles (predicted)", f"{found.cycles:,}")]
    if board:
        milliseconds = board.milliseconds(found.cycles)
        rows.append((f"ms at {board.clock_mhz:g} MHz (assumed)", f"{milliseconds:.2f}"))
        if found.batch > 1:
            rows.append(("ms per image", f"{milliseconds / found.batch:.2f}"))
    rows += [
        ("memory bound, cycles", f"{found.memory_bound:,.0f}"),
        ("compute bound, cycles", f"{found.compute_bound:,.0f}"),
        (f"share of the {bound} bound", f"{found.bound / found.cycles:.1%}"),
        ("multiply-accumulates", f"{found.macs:,}"),
        ("per cycle", f"{found.macs_per_cycle:,.1f} of {found.config.macs_per_cycle:,}"),
        ("per cycle and DSP slice (all)", f"{found.macs_per_cycle / slices:.2f}"),
        ("bytes read", f"{found.bytes_read:,}"),
        *((f"cycles {cause}", f"{cycles:,}") for cause, cycles in found.timing.stalls.items()),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _print_memories(config: MachineConfig, board: Board | None) -> None:
    memories = on_chip(config, board.uram if board else 0)
    table = Table("on-chip memory (estimate)", "words x bits", "BRAM36", "URAM", box=None)
    for each in memories:
        copies = f" x {each.copies}" if each.copies > 1 else ""
        table.add_row(each.name, f"{each.depth:,} x {each.width}{copies}", f"{each.bram36:g}", str(each.uram))
    totals = f"{sum(each.bram36 for each in memories):g}", str(sum(each.uram for each in memories))
    table.add_row("all", "", *totals)
    if board:
        used = budgets(config, board)
        table.add_row(f"{board.name} has", "", str(board.bram36), str(board.uram))
        table.add_row("used", "", boards.share(*used["BRAM36"]), boards.share(*used["URAM"]))
    console.print(table)
    slices = Text(f"DSP slices (estimate): {dsp_slices(config)}")
    console.print(slices.append(", ").append(boards.share(*used["DSP"])) if board else slices)
    if board:
        say(boards.NO_LUTS)
