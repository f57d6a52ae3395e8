# SPDX-License-Identifier: Apache-2.0
"""``moevit release``: writes an archive for a board."""

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from moevit.kit import release as format_
from moevit.kit.npz import NpzError
from moevit.rtl_gen import release
from moevit.rtl_gen.vivado.exits import VivadoError
from moevit.spec.boards import BOARDS
from moevit.spec.bundle import BundleError

from .screen import board_named, say, told
from .stages import Stages


def pack(
    board: Annotated[str, typer.Option(help=f"board: {', '.join(BOARDS)}")],
    bundle: Annotated[Path, typer.Option(help="the demo, compiled for the board's configuration")],
    beside: Annotated[list[Path] | None, typer.Option(
        help="a file that the notebooks look at: the demo's scenes, its quantised model")] = None,
    built: Annotated[Path | None, typer.Option(help="folder of a build; build/vivado/BOARD if left out")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False,
                                         help="folder")] = Path("build") / "release",
) -> None:
    """Write moevit-VERSION-BOARD.zip."""
    known = board_named(board)
    with told(BundleError, NpzError, OSError, VivadoError, subprocess.CalledProcessError):
        output.mkdir(parents=True, exist_ok=True)
        stages = Stages()
        with tempfile.TemporaryDirectory() as scratch, stages.stage("wheel") as stage:
            wheel = release.make_wheel(Path(scratch))
            files, facts = release.release_files(known, wheel, bundle, built or Path("build") / "vivado" / board,
                                                 beside or ())
            stage.result = wheel.name
        path = output / f"{release.archive_name(str(facts['version']), known)}.zip"
        format_.pack(path, files, facts)
    state = "with" if any(name.endswith(".bit") for name in files) else "without"
    say(f"{path}: {len(files)} files, {path.stat().st_size:,} bytes, {state} a bitstream")
