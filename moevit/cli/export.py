# SPDX-License-Identifier: Apache-2.0
"""``moevit export``: the core for a block design of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.kit.output import make_room
from moevit.rtl_gen.c_header import machine_header, network_header
from moevit.rtl_gen.ipxact import component
from moevit.rtl_gen.machine import machine_rtl
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.bundle import Bundle, BundleError

from .screen import board_named, config_named, say, told
from .stages import Stages

_NETWORK = "moevit_network.h"


def export(
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="folder to write to")],
    config: Annotated[str | None, typer.Option(help=f"configuration: {', '.join(CONFIGS)}")] = None,
    board: Annotated[str | None, typer.Option(help=f"or the board that it is meant for: {', '.join(BOARDS)}")] = None,
    bundle: Annotated[Path | None, typer.Option(dir_okay=False, help=(
        "a network to write beside it: program.bin, weights.bin, gates.bin, moevit_network.h"))] = None,
) -> None:
    """Write Verilog, IP-XACT (component.xml) and C headers of a configuration."""
    if (config is None) == (board is None):
        raise typer.BadParameter("say either --config or --board")
    machine = config_named(config or board_named(str(board)).config)
    with told(BundleError, OSError):
        stages = Stages(output / "component.xml")
        network: dict[str, bytes] = {}
        if bundle:
            loaded = Bundle.load(bundle)
            if loaded.manifest["config_hash"] != machine.hash:
                raise BundleError(f"{bundle} is compiled for {loaded.manifest['config']}, not for {machine.name}")
            network = {"program.bin": loaded.program, "weights.bin": loaded.weights, "gates.bin": loaded.gates,
                       _NETWORK: network_header(loaded).encode()}
        with stages.stage("generate") as stage:
            rtl = machine_rtl(machine, trace=False)
            stage.result = machine.name
        texts = {"moevit.h": machine_header(machine), "component.xml": component(
            rtl, f"Transformer accelerator, configuration {machine.name}",
            ["moevit.h", *([_NETWORK] if bundle else [])])}
        written = rtl.write(output)
        for name, content in {**{name: text.encode() for name, text in texts.items()}, **network}.items():
            make_room(output / name)
            (output / name).write_bytes(content)
            written.append(output / name)
    for path in written:
        say(f"{path}: {path.stat().st_size:,} bytes")
