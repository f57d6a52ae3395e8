# SPDX-License-Identifier: Apache-2.0
"""Checks a board for the needs of a run, and shows the findings in one table."""

import importlib.util
import json
import os
import platform
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from moevit.spec.bundle import Bundle, BundleError
from moevit.spec.ip import CLOCK_TOLERANCE, VLNV, handoff_clock

__all__ = ["Finding", "examine", "table"]

_BOARD_NAME = "proc/device-tree/chosen/pynq_board"
_LEAST_CMA = 32 << 20


@dataclass(frozen=True)
class Finding:
    """One check: ``what`` it looks for, and what it ``found``.

    ``fix`` says how to get what is missing; it is empty if nothing is. Nothing runs without what is ``essential``.
    """

    what: str
    found: str
    fix: str = ""
    essential: bool = True


def examine(folder: Path, root: Path = Path("/")) -> list[Finding]:
    """Check this computer, whose files are below ``root``, and overlay and bundles in ``folder``."""
    return [*_packages(), *_board(root), *_files(folder)]


def table(findings: list[Finding]) -> str:
    """A line for each finding: ok, missing, or - for what is not essential; then what was found, or how to get it."""
    width = max(len(each.what) for each in findings)
    lines = []
    for each in findings:
        state = "ok" if not each.fix else "missing" if each.essential else "-"
        lines.append(f"{each.what:{width}}  {state:7}  {each.found}{': ' if each.fix else ''}{each.fix}")
    return "\n".join(lines)


def _packages() -> Iterator[Finding]:
    yield Finding("python", platform.python_version())  # the package needs 3.10 to be installed at all
    remote = bool(os.environ.get("PYNQ_REMOTE_DEVICES"))
    try:
        pynq = version("pynq") if importlib.util.find_spec("pynq") else ""
    except PackageNotFoundError:
        pynq = "of unknown version"
    fix = "" if pynq else "use a PYNQ image, or pip install pynq and set PYNQ_REMOTE_DEVICES to the board's address"
    yield Finding("pynq", pynq or "not installed", fix)
    most = 2 if pynq.startswith("4.") else 3
    major, minor = (int(part) for part in np.__version__.split(".")[:2])
    fits = (1, 21) <= (major, minor) < (most, 0)
    yield Finding("numpy", np.__version__, "" if fits else f"pip install 'numpy>=1.21,<{most}'")
    if remote and pynq and not pynq.startswith("4."):
        yield Finding("remote", f"pynq {pynq}", "PYNQ_REMOTE_DEVICES needs pynq 4: pip install 'pynq>=4'")


def _board(root: Path) -> Iterator[Finding]:
    remote = os.environ.get("PYNQ_REMOTE_DEVICES")
    if remote:
        yield Finding("board", f"remote, {remote}")
        return
    name = root / _BOARD_NAME
    board = name.read_text(errors="replace").strip("\0 \n") if name.exists() else ""
    yield Finding("board", board or "none", "" if board else "this is no PYNQ board; without one, "
                  "moevit.sim.board.simulated_board.SimulatedBoard is the same machine")
    yield Finding("root", "yes" if os.geteuid() == 0 else "no", "" if os.geteuid() == 0 else
                  "registers are reached through /dev/mem: sudo -E, or a PYNQ notebook")
    memory = [node for node in ("dev/mem", "dev/xlnk") if (root / node).exists()]
    yield Finding("registers", ", ".join(f"/{node}" for node in memory) or "no /dev/mem",
                  "" if memory else "start the PYNQ image")
    uio = sorted(path.name for path in (root / "dev").glob("uio*")) if (root / "dev").is_dir() else []
    yield Finding("interrupts", ", ".join(uio) or "no /dev/uio*", "" if uio else "the host polls instead", False)
    sizes = _meminfo(root)
    total, free = sizes.get("CmaTotal", 0), sizes.get("CmaFree", 0)
    yield Finding("CMA", f"{free >> 20} of {total >> 20} MiB are free", "" if free >= _LEAST_CMA else
                  "free other buffers (restart notebooks), or put cma=256M into the kernel's boot arguments")


def _meminfo(root: Path) -> dict[str, int]:
    path = root / "proc/meminfo"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.endswith("kB")}


def _files(folder: Path) -> Iterator[Finding]:
    bitstreams, report = sorted(folder.glob("*.bit")), _build_report(folder)
    if not bitstreams:
        yield Finding("overlay", f"no .bit in {folder}", "unpack the release archive of the board, and run there")
    for path in bitstreams:
        yield Finding("overlay", path.name, _damage(path))
        yield from _clock(path, report)
    built = _built_hash(report)
    bundles = sorted(folder.glob("*.bundle"))
    if not bundles:
        yield Finding("bundle", f"no .bundle in {folder}", "compile a model: moevit compile", False)
    for path in bundles:
        try:
            manifest = Bundle.load(path).manifest
        except BundleError as error:
            yield Finding("bundle", str(error), "copy or compile it again")
            continue
        config, there = manifest["config"], manifest["config_hash"]
        fits = built is None or built == there
        compared = "" if built is not None else "; not compared, the overlay's build.json is not here"
        yield Finding("bundle", f"{path.name} for {config} (0x{there:08X}){compared}", "" if fits else
                      f"the overlay is 0x{built:08X}: compile for its configuration")


def _damage(bitstream: Path) -> str:
    """What is wrong with a bitstream and its handoff, and what to do; empty if nothing is."""
    handoff = bitstream.with_suffix(".hwh")
    if not handoff.exists():
        return f"{handoff.name} must lie beside it"
    if not bitstream.stat().st_size:
        return "it is empty, copy it again"
    try:
        cores = {module.get("VLNV") for module in ElementTree.parse(handoff).getroot().iter("MODULE")}
    except ElementTree.ParseError as error:
        return f"{handoff.name} is no hardware handoff ({error}), copy it again"
    return "" if VLNV in cores else f"{handoff.name} has no {VLNV}: use bitstream and package of one release"


def _clock(bitstream: Path, report: dict[str, Any]) -> Iterator[Finding]:
    """The clock that the host sets, beside the one that the bitstream was built for; nothing where one is unknown."""
    try:
        built = float(report["clock_mhz"])
        wanted = handoff_clock(ElementTree.parse(bitstream.with_suffix(".hwh")).getroot())
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError):
        return
    if wanted is not None and report.get("name", bitstream.stem) == bitstream.stem:
        yield Finding("clock", f"{wanted:g} MHz, built for {built:g} MHz", "" if wanted <= CLOCK_TOLERANCE * built else
                      f"{bitstream.stem}.bit, .hwh and build.json must be of one build: copy them again")


def _build_report(folder: Path) -> dict[str, Any]:
    """``build.json`` of the overlay; empty without one."""
    try:
        found = json.loads((folder / "build.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _built_hash(report: dict[str, Any]) -> int | None:
    """Hash of the overlay's configuration, from the report of its build; None without one."""
    try:
        return int(report["config_hash"], 16)
    except (ValueError, KeyError, TypeError):
        return None
