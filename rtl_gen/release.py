# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.rtl_gen.release``: one archive per board, and a check of one.

Inside: the package as a wheel, the demo compiled for the board's configuration, notebooks, bitstream and hardware
handoff if they were built, instructions, and ``verify.py``.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moevit.spec import release as format_
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS, Board
from moevit.spec.bundle import Bundle, BundleError
from moevit.spec.ip import VLNV

from .vivado.bitfile import check_bit, check_hwh
from .vivado.boards import BOARD_DATA
from .vivado.build import check_unchanged, read_report
from .vivado.exits import VivadoError
from .vivado.settings import design_name

__all__ = ["app", "make_wheel", "release_files"]

ROOT = Path(__file__).resolve().parent.parent
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()

_INSTALL = """\
# moevit {version} for {board}

1. `python3 verify.py` says whether all files are as they were released.
2. `pip install --no-index --no-deps --find-links wheels moevit` on the board, as root and with the Python of its
   notebooks (on a PYNQ image: `source /etc/profile.d/pynq_venv.sh` first); nothing is downloaded. It needs numpy and
   pynq, which a PYNQ image has. The board's self-test also needs pytest:
   `python3 -m pytest --pyargs moevit.host.selftest`, in this folder.
3. {bitstream}
4. `python3 -m moevit.host doctor .` checks board, packages, memory, bitstream and bundle.
5. Open a notebook in this folder: they find bundle and bitstream beside them.

Array configuration {config}, core {vlnv}.
"""
_WITH = "`{name}.bit` and `{name}.hwh` are here, built by Vivado {tool} with {wns} ns of slack."
_WITHOUT = ("No bitstream is in this archive. Build it with `make bitstream BOARD={board}` where Vivado is, and\n"
            "   put `{name}.bit` and `{name}.hwh` into this folder.")


def make_wheel(folder: Path) -> Path:
    """Build the project's wheel into ``folder`` from a copy, so that the checkout stays as it is; needs no network."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "moevit"
        ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs", "models")
        shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(copy)]
        subprocess.run(command, check=True)
    wheel, = folder.glob("moevit-*.whl")
    return wheel


def release_files(board: Board, wheel: Path, bundle: Path, built: Path,
                  beside: Sequence[Path] = ()) -> tuple[dict[str, bytes], dict[str, object]]:
    """Files by name in the archive, and facts for its manifest; ``beside``: files that the notebooks look at.

    Raises BundleError for a bundle or a bitstream of another configuration, VivadoError for a bitstream in ``built``
    that is not whole.
    """
    config, name = CONFIGS[board.config], design_name(board)
    compiled = Bundle.load(bundle).manifest
    if compiled["config_hash"] != config.hash:
        raise BundleError(f"{bundle} is compiled for {compiled['config']}, {board.name} has {config.name}")
    version = wheel.name.split("-")[1]
    files = {f"wheels/{wheel.name}": wheel.read_bytes(), f"{config.name}.bundle": bundle.read_bytes(),
             "verify.py": Path(format_.__file__).read_bytes(), "LICENSE": (ROOT / "LICENSE").read_bytes()}
    files |= {path.name: path.read_bytes() for path in beside}
    for path in sorted((ROOT / "host" / "notebooks").glob("*.ipynb")):
        files[path.name] = path.read_bytes()
    facts: dict[str, object] = {"name": f"moevit {version} for {board.name}", "version": version, "board": board.name,
                                "config": config.name, "config_hash": f"0x{config.hash:08X}", "core": VLNV}
    bitstream = _WITHOUT.format(board=board.name, name=name)
    if (built / "build.json").exists():
        report = read_report(built)
        if report["config_hash"] != facts["config_hash"]:
            raise BundleError(f"the bitstream in {built} is of {report['config']}, {board.name} has {config.name}")
        check_bit(built / f"{name}.bit", BOARD_DATA[board.name].part)
        check_hwh(built / f"{name}.hwh")
        check_unchanged(built, report)
        for file in (f"{name}.bit", f"{name}.hwh", "build.json"):
            files[file] = (built / file).read_bytes()
        bitstream = _WITH.format(name=name, tool=report["version"], wns=report["wns"])
    install = _INSTALL.format(version=version, board=board.name, config=config.name, vlnv=VLNV, bitstream=bitstream)
    files["INSTALL.md"] = install.encode()
    return files, facts


@app.command()
def pack(
    board: Annotated[str, typer.Option(help=f"board: {', '.join(BOARDS)}")],
    bundle: Annotated[Path, typer.Option(help="the demo, compiled for the board's configuration")],
    beside: Annotated[list[Path] | None, typer.Option(
        help="a file that the notebooks look at: the demo's scenes, its quantised model")] = None,
    built: Annotated[Path | None, typer.Option(help="folder of a build; build/vivado/BOARD if left out")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder")] = Path("build") / "release",
) -> None:
    """Write moevit-VERSION-BOARD.zip."""
    if board not in BOARDS:
        raise typer.BadParameter(f"no board is called {board!r}; there are {', '.join(BOARDS)}")
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch, console.status("Building the wheel"):
            files, facts = release_files(BOARDS[board], make_wheel(Path(scratch)), bundle,
                                         built or Path("build") / "vivado" / board, beside or ())
    except (BundleError, OSError, VivadoError, subprocess.CalledProcessError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    path = output / f"moevit-{facts['version']}-{board}.zip"
    format_.pack(path, files, facts)
    state = "with" if any(name.endswith(".bit") for name in files) else "without"
    console.print(f"{path}: {len(files)} files, {path.stat().st_size:,} bytes, {state} a bitstream", highlight=False)


@app.command()
def verify(archive: Annotated[Path, typer.Argument(help="archive to check")],
           unpack: Annotated[Path | None, typer.Option(help="folder to unpack into, if all is right")] = None) -> None:
    """Check every file of an archive against its manifest."""
    try:
        manifest = format_.unpack(archive, unpack) if unpack else format_.verify(archive)
    except format_.ReleaseError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"{archive}: {len(manifest['files'])} files are as released", highlight=False)


if __name__ == "__main__":
    app()
