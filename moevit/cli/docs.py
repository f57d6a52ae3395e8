# SPDX-License-Identifier: Apache-2.0
"""``moevit docs``: the tables that are made from the declarations."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.pages.contract import DOCUMENTS

from .screen import say, told
from .stages import Stages


def docs(
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="folder")] = Path("docs"),
) -> None:
    """Write the reference tables."""
    paths = {output / name: make for name, make in DOCUMENTS.items()}
    with told(OSError):
        Stages(*paths)
        for path, make in paths.items():
            path.write_text(make())
            say(str(path))
