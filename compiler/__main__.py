# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.compiler``: compile a quantised model, read a program, ask whether a network fits."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.bundle import Bundle, BundleError
from moevit.spec.isa import ProgramError
from moevit.spec.networks import NETWORKS, Network, NetworkError
from moevit.spec.npz import NpzError, read_npz
from moevit.spec.output import make_room
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .assemble import compile_model
from .disassemble import disassemble
from .estimate import Estimate
from .estimate import estimate as predict
from .onchip import dsp_slices, on_chip, shortages
from .plan import DoesNotFit, reasons_against

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()


def config_named(name: str) -> MachineConfig:
    if name not in CONFIGS:
        raise typer.BadParameter(f"no configuration is called {name!r}; there are {', '.join(CONFIGS)}")
    return CONFIGS[name]


@app.command("compile")
def compile_(
    model: Annotated[Path, typer.Argument(help="quantised model (.npz)")],
    output: Annotated[Path, typer.Option("--output", "-o", help="bundle to write")],
    config: Annotated[str, typer.Option(help="array configuration")] = "16x16",
    batch: Annotated[int, typer.Option(help="images at a time")] = 1,
    heads: Annotated[Path | None, typer.Option(help=".npz with the host's head weights")] = None,
    speculate: Annotated[int | None, typer.Option(help="experts fetched before the routing is known, 0 for none; "
                                                       "the model says it if left out")] = None,
) -> None:
    """Compile a quantised model to a bundle."""
    try:
        make_room(output)
        arrays, quantised = read_npz(heads) if heads else None, QuantisedModel.load(model)
        if arrays is not None:
            _check_heads(arrays, quantised.network)
        bundle = compile_model(quantised, config_named(config), arrays, batch, speculate)
        bundle.save(output)
    except NpzError as error:
        console.print(f"{heads}: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except ProgramError as error:
        console.print(f"{model} has what no instruction holds: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except (DoesNotFit, OSError, QuantisedModelError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"{output}: {bundle.program_length} instructions, {len(bundle.weights):,} bytes of weights, "
                  f"{len(bundle.gates):,} bytes of gates for tasks {', '.join(bundle.tasks)}")


def _check_heads(arrays: Mapping[str, np.ndarray], network: Network) -> None:
    """Raises BadParameter. Heads of other tasks may be among them, as in the checkpoint; the host leaves them out."""
    known = tuple(f"heads.{task}." for task in network.tasks)
    foreign = sorted(name for name in arrays if not name.startswith("heads."))
    if foreign or not any(name.startswith(known) for name in arrays):
        found = ", ".join(foreign[:3]) or "no head of its tasks"
        raise typer.BadParameter(f"no head weights of {network.name}: {found} is in it, names begin with "
                                 f"{' or '.join(known)}", param_hint="--heads")


@app.command("disassemble")
def disassemble_(bundle: Annotated[Path, typer.Argument(help="bundle to read")]) -> None:
    """Print a bundle's program."""
    try:
        typer.echo(disassemble(Bundle.load(bundle)))
    except BundleError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


@app.command()
def fit() -> None:
    """Which network fits which configuration, and what is in the way."""
    table = Table("network", box=None)
    for config in CONFIGS:
        table.add_column(config, no_wrap=True)
    against = {(network, config): reasons_against(NETWORKS[network], CONFIGS[config])
               for network in NETWORKS for config in CONFIGS}
    for network in NETWORKS:
        table.add_row(network, *("no" if against[network, config] else "[green]fits[/green]" for config in CONFIGS))
    console.print(table)
    for (network, config), reasons in against.items():
        if reasons:
            console.print(f"{network} on {config}: {'; '.join(reasons)}", highlight=False, soft_wrap=True)


@app.command("estimate")
def estimate_(
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
    if board is not None and board not in BOARDS:
        raise typer.BadParameter(f"no board class is called {board!r}; there are {', '.join(BOARDS)}")
    if board is None and config is None:
        raise typer.BadParameter("name an array with --config, a board class with --board, or both")
    chosen = BOARDS[board] if board else None
    machine = config_named(config or BOARDS[str(board)].config)
    lacking = shortages(machine, chosen) if chosen else []
    try:
        found = predict(_for_image(NETWORKS[network], image), machine, chosen, batch=batch, read_latency=latency)
        console.print(_figures(found, chosen))
    except DoesNotFit as error:
        lacking.append(str(error))
    _print_memories(machine, chosen)
    for reason in lacking:
        console.print(f"does not fit: {reason}", style="red", markup=False, soft_wrap=True)
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


if __name__ == "__main__":
    app()
