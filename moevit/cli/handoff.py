# SPDX-License-Identifier: Apache-2.0
"""``moevit handoff``: writes the hardware handoff (.hwh) of the block design."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.rtl_gen.hwh import handoff
from moevit.spec.boards import BOARDS
from moevit.spec.registers import VERSION

from .screen import board_named, config_named, say, told
from .stages import Stages


def handoff_(
    board: Annotated[str, typer.Option(help=f"board: {', '.join(BOARDS)}")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False,
                                         help=".hwh to write; the .bit's name, but for the end")],
    config: Annotated[str | None, typer.Option(help="array configuration; the board's if left out")] = None,
) -> None:
    """Write the hardware handoff of the machine on a board."""
    known = board_named(board)
    machine = config_named(config or known.config)
    with told(OSError):
        stages = Stages(output)
        with stages.stage("handoff"):
            output.write_text(handoff(known, machine))
    say(f"{output}: {machine.name} on {board}, hardware {VERSION >> 24}.{VERSION >> 16 & 0xFF}")
