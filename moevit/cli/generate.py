# SPDX-License-Identifier: Apache-2.0
"""``moevit generate``: writes the machine's Verilog."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.rtl_gen.machine import machine_rtl
from moevit.spec.arrays import CONFIGS

from .screen import config_named, say, told
from .stages import Stages


def generate(
    config: Annotated[str, typer.Option(help=f"array configuration: {', '.join(CONFIGS)}")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to write to")],
    trace: Annotated[bool, typer.Option("--trace", help="with the simulation-only trace ports")] = False,
) -> None:
    """Write core, wrapper and manifest.json of a configuration."""
    machine = config_named(config)
    with told(OSError):
        stages = Stages(output / "manifest.json")
        with stages.stage("generate") as stage:
            written = machine_rtl(machine, trace=trace).write(output)
            stage.result = config
    for path in written:
        say(f"{path}: {path.stat().st_size:,} bytes")
