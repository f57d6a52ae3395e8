# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.rtl_gen``: write the machine's Verilog."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moevit.spec.arrays import CONFIGS

from .machine import machine_rtl

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()


@app.command()
def main(
    config: Annotated[str, typer.Option(help=f"array configuration: {', '.join(CONFIGS)}")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to write to")],
    trace: Annotated[bool, typer.Option("--trace", help="with the simulation-only trace ports")] = False,
) -> None:
    """Write core, wrapper and manifest.json of a configuration."""
    if config not in CONFIGS:
        raise typer.BadParameter(f"no configuration is called {config!r}; there are {', '.join(CONFIGS)}")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with console.status(f"Generating {config}"):
            rtl = machine_rtl(CONFIGS[config], trace=trace)
        written = rtl.write(output)
    except OSError as error:
        console.print(f"{output} cannot be written: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    for path in written:
        console.print(f"{path}: {path.stat().st_size:,} bytes", highlight=False)


if __name__ == "__main__":
    app()
