# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.compiler``: compile a quantised model, read a program, ask whether a network fits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.bundle import Bundle, BundleError
from moevit.spec.networks import NETWORKS
from moevit.spec.npz import NpzError, read_npz
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .assemble import compile_model
from .disassemble import disassemble
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
        arrays = read_npz(heads) if heads else None
        bundle = compile_model(QuantisedModel.load(model), config_named(config), arrays, batch, speculate)
        bundle.save(output)
    except NpzError as error:
        console.print(f"{heads}: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except (DoesNotFit, OSError, QuantisedModelError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"{output}: {bundle.program_length} instructions, {len(bundle.weights):,} bytes of weights, "
                  f"{len(bundle.gates):,} bytes of gates for tasks {', '.join(bundle.tasks)}")


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
    table = Table("network", *CONFIGS)
    for network in NETWORKS.values():
        against = [reasons_against(network, config) for config in CONFIGS.values()]
        cells = [", ".join(reason.split(":")[0] for reason in reasons) or "[green]fits[/green]" for reasons in against]
        table.add_row(network.name, *cells)
    console.print(table)


if __name__ == "__main__":
    app()
