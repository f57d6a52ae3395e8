# SPDX-License-Identifier: Apache-2.0
"""Checks before a build, which takes hours: tool, version, path, disk, memory. Vivado itself checks part, board files
and licence (`Build.probe`)."""

import re
import shutil
import subprocess
from pathlib import Path

from moevit.kit.output import make_room
from moevit.spec.boards import Board

from .boards import BOARD_DATA
from .exits import ExitCode, VivadoError

__all__ = ["OLDEST", "check_machine", "check_path", "find_vivado"]

#: The oldest Vivado that the scripts support.
OLDEST = (2022, 1)
#: For a project with its runs and checkpoints; a generous assumption.
DISK_GIB = 10
MEMINFO = Path("/proc/meminfo")


def find_vivado() -> tuple[str, str]:
    """Vivado on PATH and its version. Raises VivadoError."""
    found = shutil.which("vivado")
    if found is None:
        raise VivadoError(ExitCode.NO_VIVADO, "vivado is not on PATH",
                          "Source settings64.sh of an installation, e.g. /tools/Xilinx/Vivado/2024.2/settings64.sh "
                          "or /opt/Xilinx/2025.2/Vivado/settings64.sh")
    try:
        output = subprocess.run([found, "-version"], capture_output=True, text=True, check=True, timeout=300).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise VivadoError(ExitCode.NO_VIVADO, f"{found} does not start: {error}",
                          "See what `vivado -version` says") from error
    numbers = re.search(r"[Vv]ivado v(\d{4})\.(\d+)", output)
    if numbers is None:
        raise VivadoError(ExitCode.OLD_VIVADO, f"{found} does not say its version: {output[:80]!r}",
                          "See what `vivado -version` says")
    version = int(numbers[1]), int(numbers[2])
    if version < OLDEST:
        raise VivadoError(ExitCode.OLD_VIVADO, f"{found} is {version[0]}.{version[1]}, older than "
                          f"{OLDEST[0]}.{OLDEST[1]}", "Source settings64.sh of a later one")
    return found, f"{version[0]}.{version[1]}"


def check_path(folder: Path) -> None:
    """Make the folder. Raises VivadoError if that fails, and for a path at which Vivado's own scripts break: spaces,
    letters beyond ASCII, others."""
    if odd := sorted(set(re.sub(r"[\w./+-]", "", str(folder.resolve()), flags=re.ASCII))):
        raise VivadoError(ExitCode.PATH, f"Vivado cannot work in {folder.resolve()}: it has {' '.join(map(repr, odd))}",
                          "Give a plain path with --output")
    try:
        make_room(folder / "settings.tcl")
    except OSError as error:
        raise VivadoError(ExitCode.PATH, str(error), "Give another folder with --output") from error


def check_machine(board: Board, folder: Path) -> None:
    """Raises VivadoError if disk or memory are too small for a build."""
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if (free := shutil.disk_usage(nearest).free / 2**30) < DISK_GIB:
        raise VivadoError(ExitCode.DISK, f"{free:.1f} GiB are free at {nearest}, a build may need {DISK_GIB}",
                          "Free some, give another folder with --output, or try with --force")
    needed = BOARD_DATA[board.name].family.memory_gib
    available = _memory_gib()
    if available is not None and available < needed:
        raise VivadoError(ExitCode.MEMORY, f"{available:.1f} GiB of memory are available, a build for {board.name} may "
                          f"need {needed}", "Close other programs, or try with --force")


def _memory_gib() -> float | None:
    """GiB of memory that programs can still get, with swap; None if the system does not say."""
    try:
        text = MEMINFO.read_text()
    except OSError:
        return None
    sizes = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB", text))
    return (int(sizes["MemAvailable"]) + int(sizes.get("SwapFree", 0))) / 2**20 if "MemAvailable" in sizes else None
