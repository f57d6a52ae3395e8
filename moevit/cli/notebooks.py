# SPDX-License-Identifier: Apache-2.0
"""``moevit notebooks``: converts the notebooks from text and executes them over the simulated board."""

from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient.exceptions import CellExecutionError

from moevit.notebooks.execute import SOURCES, convert, drawings, execute, pictures

from .screen import say, told
from .stages import Stages


def notebooks(output: Annotated[Path, typer.Option("--output", "-o", file_okay=False,
                                                   help="folder for .ipynb and .png")]) -> None:
    """Execute every notebook; write it and its pictures."""
    with told(CellExecutionError, OSError):
        written = [output / f"{source.stem}.ipynb" for source in SOURCES]
        stages = Stages(*written)
        for source, path in zip(SOURCES, written, strict=True):
            with stages.stage("execute") as stage:
                stage(source.name)
                notebook = convert(source)
                execute(notebook, output)
                nbformat.write(notebook, path)
                found, drawn = pictures(notebook), drawings(notebook)
                for index, content in enumerate(found):
                    (output / f"{source.stem}_{index}.png").write_bytes(content)
                stage.result = source.name
            say(f"{path}, {len(found)} pictures, {len(drawn)} drawings")
