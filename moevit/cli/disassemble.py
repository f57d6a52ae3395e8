# SPDX-License-Identifier: Apache-2.0
"""``moevit disassemble``: a bundle's program as text."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.compiler.disassemble import disassemble
from moevit.spec.bundle import Bundle, BundleError

from .screen import told


def disassemble_(bundle: Annotated[Path, typer.Argument(help="bundle to read")]) -> None:
    """Print a bundle's program."""
    with told(BundleError):
        typer.echo(disassemble(Bundle.load(bundle)))
