# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.rtl_gen``: write a machine's Verilog."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moevit.spec.arrays import CONFIGS

from .generate import generate

console = Console()


def main(
    config: Annotated[str, typer.Option(help="array configuration")] = "16x16",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="default build/rtl/CONFIG")] = None,
) -> None:
    """Write core.v, moevit.v (top, AMBA names) and manifest.json."""
    if config not in CONFIGS:
        raise typer.BadParameter(f"no configuration is called {config!r}; there are {', '.join(CONFIGS)}")
    directory = output or Path("build/rtl") / config
    with console.status(f"generating {config}"):
        manifest = generate(CONFIGS[config], directory)
    console.print(f"{directory}: {', '.join(manifest['files'])}, configuration {manifest['config_hash']}")


if __name__ == "__main__":
    typer.run(main)
