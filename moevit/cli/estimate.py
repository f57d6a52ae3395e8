# SPDX-License-Identifier: Apache-2.0
"""``moevit estimate``: cycles, bytes and on-chip memory before anything is built."""

import re
from typing import Annotated

import typer
from rich.table import Table

from moevit.compiler.estimate import Estimate
from moevit.compiler.estimate import estimate as predict
from moevit.compiler.onchip import dsp_slices, on_chip, shortages
from moevit.compiler.plan import DoesNotFit
from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import NETWORKS, Network, NetworkError

from .screen import board_named, config_named, console, errors


def estimate(
    network: Annotated[str, typer.Argument(help=f"network: {', '.join(NETWORKS)}")],
    config: Annotated[str | None, typer.Option(help=f"array configuration, the board's if left out: "
                                                    f"{', '.join(CONFIGS)}")] = None,
    board: Annotated[str | None, typer.Option(help=f"board class: {', '.join(BOARDS)}; this or --config")] = None,
    batch: Annotated[int, typer.Option(min=1, help="images at a time")] = 1,
    image: Annotated[str | None, typer.Option(help="height x width in pixels, as in 480x640; the network's own if left "
                                                   "out")] = None,
    latency: Annotated[int, typer.Option(min=2, max=1_000_000, help="read latency of the memory, cycles")] = 64,
) -> None:
    """Predict cycles, bytes and on-chip memory of a network from its shape; exit 1 if it does not fit."""
    if network not in NETWORKS:
        raise typer.BadParameter(f"no network is called {network!r}; there are {', '.join(NETWORKS)}")
    chosen = board_named(board) if board else None
    if chosen is None and config is None:
        raise typer.BadParameter("name an array with --config, a board class with --board, or both")
    machine = config_named(config or (chosen.config if chosen else ""))
    lacking = shortages(machine, chosen) if chosen else []
    try:
        found = predict(_for_image(NETWORKS[network], image), machine, chosen, batch=batch, read_latency=latency)
        console.print(_figures(found, chosen))
    except DoesNotFit as error:
        lacking.append(str(error))
    _print_memories(machine, chosen)
    for reason in lacking:
        errors.print(f"does not fit: {reason}", style="red", markup=False, soft_wrap=True)
    if lacking:
        raise typer.Exit(1)


def _for_image(network: Network, image: str | None) -> Network:
    if image is None:
        return network
    sides = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", image)
    if sides is None:
        raise typer.BadParameter(f"an image is height x width in pixels, each up to 9999, as in 480x640, not {image!r}")
    try:
        return network.for_image(int(sides[1]), int(sides[2]))
    except NetworkError as error:
        raise typer.BadParameter(str(error)) from error


def _figures(found: Estimate, board: Board | None) -> Table:
    """Cycles and the bounds below them."""
    table = Table(show_header=False, box=None, title=f"{found.network.name} on {found.config.name}"
                  + (f", {board.name} class" if board else "") + (f", batch {found.batch}" if found.batch > 1 else ""))
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
        table.add_row(f"{board.name} has", "", str(board.bram36), str(board.uram))
    console.print(table)
    slices = dsp_slices(config)
    console.print(f"DSP slices (estimate): {slices}" + (f" of {board.dsp}" if board else ""))
