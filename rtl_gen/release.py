# SPDX-License-Identifier: Apache-2.0
"""One archive per board.

Inside: the package as a wheel, the demo compiled for the board's configuration, notebooks, bitstream and hardware
handoff if they were built, instructions, and ``verify.py``.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moevit.kit import release as format_
from moevit.kit.npz import read_npz
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import Board
from moevit.spec.bundle import Bundle, BundleError
from moevit.spec.ip import VLNV

from .vivado.bitfile import check_bit, check_hwh
from .vivado.boards import BOARD_DATA
from .vivado.build import check_unchanged, read_report
from .vivado.settings import design_name

__all__ = ["archive_name", "make_wheel", "release_files"]

ROOT = Path(__file__).resolve().parent.parent

_INSTALL = """\
# moevit {version} for {board}

1. Copy the archive to the board and unpack it there: `unzip {folder}.zip && cd {folder}`. All further commands run in
   that folder.
2. `python3 verify.py` prints `{count} files are as released: moevit {version} for {board}`.
3. `pip install --no-index --no-deps --find-links wheels moevit` on the board, as root and with the Python of its
   notebooks (on a PYNQ image: `source /etc/profile.d/pynq_venv.sh` first); nothing is downloaded. It needs numpy and
   pynq, which a PYNQ image has.
4. {bitstream}
5. `moevit doctor .` checks board, packages, memory, bitstream and bundle.

## Five lines

As root, in a Python or a notebook that was started in this folder:

```python
import numpy as np
from moevit import Accelerator
accelerator = Accelerator("{name}.bit")
accelerator.load("{config}.bundle")
print({printed})
```

They print exactly

```
{expected}
```

## Further

- `python3 -m pytest --pyargs moevit.host.selftest`, in this folder, runs the demo and compares every value. It needs
  pytest.
- {notebooks} find bundle and bitstream beside them.
- A command that needs more than numpy says in a line what to install.

Array configuration {config}, core {vlnv}.
"""
_WITH = "`{name}.bit` and `{name}.hwh` are here, built by Vivado {tool} for {clock} MHz with {wns} ns of slack."
_WITHOUT = ("No bitstream is in this archive. Build it with `make bitstream BOARD={board}` where Vivado is, and\n"
            "   put `{name}.bit` and `{name}.hwh` into this folder.")
_SCENES = "scenes.npz"


def make_wheel(folder: Path) -> Path:
    """Build the project's wheel into ``folder`` from a copy, so that the checkout stays as it is; needs no network."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "moevit"
        shutil.copytree(ROOT, copy, ignore=_ignored, symlinks=True)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(copy)]
        subprocess.run(command, check=True)
    wheel, = folder.glob("moevit-*.whl")
    return wheel


def _ignored(folder: str, names: list[str]) -> set[str]:
    """What a wheel is made without."""
    outside = ["build", "*.egg-info", "tests", "docs", "models"] if Path(folder) == ROOT else []
    return set(shutil.ignore_patterns(".*", "__pycache__", *outside)(folder, names))


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
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files[path.name] = path.read_bytes()
    facts: dict[str, object] = {"name": f"moevit {version} for {board.name}", "version": version, "board": board.name,
                                "config": config.name, "config_hash": f"0x{config.hash:08X}", "core": VLNV}
    bitstream = _WITHOUT.format(board=board.name, name=name)
    if (built / "build.json").exists():
        report = read_report(built)
        if report["config_hash"] != facts["config_hash"]:
            raise BundleError(f"the bitstream in {built} is of {report['config']}, {board.name} has {config.name}")
        check_bit(built / f"{name}.bit", BOARD_DATA[board.name].part)
        check_hwh(built / f"{name}.hwh", float(report["clock_mhz"]))
        check_unchanged(built, report)
        for file in (f"{name}.bit", f"{name}.hwh", "build.json"):
            files[file] = (built / file).read_bytes()
        bitstream = _WITH.format(name=name, tool=report["version"], clock=report["clock_mhz"], wns=report["wns"])
    printed, expected = _example(compiled, files.get(_SCENES))
    notebooks = ", ".join(f"`{file}`" for file in files if file.endswith(".ipynb"))
    files["INSTALL.md"] = _INSTALL.format(
        version=version, board=board.name, config=config.name, vlnv=VLNV, bitstream=bitstream, name=name,
        folder=archive_name(version, board), count=len(files) + 1, printed=printed, expected=expected,
        notebooks=notebooks).encode()
    return files, facts


def archive_name(version: str, board: Board) -> str:
    """The archive's name without its suffix, which its folder has too."""
    return f"moevit-{version}-{board.name}"


def _example(manifest: dict[str, Any], scenes: bytes | None) -> tuple[str, str]:
    """What the last of the five lines prints, and what that is: values of the first scene, as the integer model has
    them, or without scenes the shape of the tokens of a black image."""
    task = manifest["tasks"][0]
    arrays = read_npz(io.BytesIO(scenes)) if scenes else {}
    if f"integer_{task}" in arrays and manifest["batch"] == 1:
        return (f'accelerator.run_raw(np.load("{_SCENES}")["images"][0], "{task}")[:2, :4]',
                str(arrays[f"integer_{task}"][0][:2, :4]))
    image, output = manifest["image"], manifest["output"]
    shape = manifest["batch"], image["height"], image["width"], 3
    return (f'accelerator.run(np.zeros({shape}, np.uint8), "{task}").shape',
            str((manifest["batch"], output["tokens"], output["dim"])))
