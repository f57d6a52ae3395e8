# SPDX-License-Identifier: Apache-2.0
"""The steps of a build. Each step is judged by the files that it leaves, not by its messages."""

import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import Board

from ..generate import Rtl
from .bitfile import check_bit, check_hwh
from .clocks import attempts
from .exits import ExitCode, VivadoError
from .logs import diagnose
from .run import run_logs, run_vivado
from .settings import Preset, constraints, settings, settings_file

__all__ = ["Build", "check_unchanged", "read_report"]

_TCL = Path(__file__).parent / "tcl"
#: Results of a design that was placed and routed.
_TIMING = ("tried", "wns", "clock_mhz")
_PROBE = "// One flip-flop, to ask for a licence.\nmodule probe (input c, input d, output reg q);\n" \
         "always @(posedge c) q <= d;\nendmodule\n"
#: Rows of a utilisation report, of either family.
_USED = {"lut": "CLB LUTs|Slice LUTs", "ff": "CLB Registers|Slice Registers", "bram36": "Block RAM Tile",
         "uram": "URAM", "dsp": "DSPs"}


class Build:
    """A folder with the inputs of Vivado and the results of a build.

    ``settings.tcl``, ``tcl/``, ``rtl/`` and ``ooc.xdc`` name no path outside the folder, so it can be copied to a
    computer that has Vivado. ``work/`` holds projects and logs, ``reports/`` reports. The results are ``NAME.bit``,
    ``NAME.hwh`` and ``build.json``. They exist only if every check has passed.
    """

    def __init__(self, folder: Path, board: Board, config: MachineConfig, rtl: Rtl, *, preset: Preset = Preset.AUTO,
                 jobs: int = 2):
        self.folder, self.board, self.config = folder, board, config
        self.settings = {**settings(board, config, rtl.table, rtl.name, preset), "jobs": jobs}
        self._files = {
            "settings.tcl": settings_file(self.settings), "ooc.xdc": constraints(board), "rtl/probe.v": _PROBE,
            **{f"rtl/{name}": text for name, text in rtl.files.items()},
            **{f"tcl/{path.name}": path.read_text() for path in sorted(_TCL.glob("*.tcl"))},
        }
        self.key = hashlib.sha256(json.dumps(self._files, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        return self.settings["name"]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @contextmanager
    def written(self) -> Iterator[None]:
        """Locks the folder, and writes the sources of this build in place of earlier ones. Raises VivadoError if the
        folder cannot be written, or if another build has it."""
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.folder / "lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.write()
            except BlockingIOError as error:
                raise VivadoError(ExitCode.PATH, f"another build is at work in {self.folder}",
                                  "Wait for it, or give another folder with --output") from error
            except OSError as error:
                raise VivadoError(ExitCode.PATH, f"{self.folder} cannot be written: {error}",
                                  "Give another folder with --output") from error
            yield

    def write(self) -> None:
        for name in ("rtl", "tcl"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name, text in self._files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def finished(self) -> dict[str, Any] | None:
        """``build.json``, if it is of these sources and its files are unchanged."""
        try:
            found = read_report(self.folder)
            check_unchanged(self.folder, found)
        except (OSError, VivadoError):
            return None
        return found if found["inputs"] == self.key else None

    def probe(self, vivado: str, tell: Callable[[str], None]) -> dict[str, str]:
        """Ask Vivado for part, board files and licence. Raises VivadoError."""
        return self._step(vivado, "probe", tell, ["licence"])

    def bitstream(self, vivado: str, tell: Callable[[str], None]) -> dict[str, Any]:
        """Package, build, check, publish. Returns ``build.json``. Raises VivadoError, with nothing published.

        A packaged IP of the same sources is taken again. All else that an interrupted build left is removed.
        """
        files = [f"{self.name}.bit", f"{self.name}.hwh"]
        for file in (*files, "build.json"):
            (self.folder / file).unlink(missing_ok=True)
            (self.work / file).unlink(missing_ok=True)
        self._forget_clocks("timing_")
        shutil.rmtree(self.work / "project", ignore_errors=True)
        stamp = self.work / "ip.key"
        if not stamp.exists() or stamp.read_text() != self.key:
            for leftover in ("ip", "package"):
                shutil.rmtree(self.work / leftover, ignore_errors=True)
            self._step(vivado, "package_ip", tell, [])
            self._present("package_ip", self.work / "ip" / "component.xml")
            stamp.write_text(self.key)
        results = self._step(vivado, "build", tell, ["version", "part", *_TIMING, "done"])
        if results["part"] != self.settings["part"]:
            raise VivadoError(ExitCode.NO_ARTEFACT, f"Vivado built for {results['part']}, not {self.settings['part']}")
        check_bit(self.work / files[0], self.settings["part"])
        check_hwh(self.work / files[1], attempts(results["tried"])[-1]["reached"])
        report = self._report(results, self.folder / "reports" / "utilisation.rpt")
        report["sha256"] = {file: _sha256(self.work / file) for file in files}
        for file in files:
            (self.work / file).replace(self.folder / file)
        (self.folder / "build.json").write_text(json.dumps(report, indent=2) + "\n")
        return report

    def out_of_context(self, vivado: str, tell: Callable[[str], None]) -> dict[str, Any]:
        """Place and route the core alone. Returns ``ooc.json``. Raises VivadoError."""
        (self.folder / "ooc.json").unlink(missing_ok=True)
        self._forget_clocks("ooc_timing_")
        results = self._step(vivado, "ooc", tell, ["version", "part", *_TIMING, "done"])
        report = self._report(results, self.folder / "reports" / "ooc_utilisation.rpt")
        (self.folder / "ooc.json").write_text(json.dumps(report, indent=2) + "\n")
        return report

    def _forget_clocks(self, prefix: str) -> None:
        """Remove an earlier build's reports of clocks at which timing was not met."""
        for path in (self.folder / "reports").glob(f"{prefix}*MHz.rpt"):
            path.unlink()

    def _step(self, vivado: str, script: str, tell: Callable[[str], None], needed: Sequence[str]) -> dict[str, str]:
        """Run a script. Returns its results, which must have the keys ``needed``. Raises VivadoError."""
        answers = self.work / "results.txt"
        answers.unlink(missing_ok=True)
        status = run_vivado(vivado, script, self.folder, tell)
        if status != 0:
            raise diagnose(status, self._logs(script))
        lines = answers.read_text().splitlines() if answers.exists() else []
        results = dict(line.split(" ", 1) for line in lines if " " in line)
        if missing := [key for key in needed if key not in results]:
            error = diagnose(0, self._logs(script))
            if error.code is not ExitCode.SCRIPT:
                raise error
            raise VivadoError(ExitCode.NO_ARTEFACT, f"Vivado ended {script}.tcl with success and without "
                              f"{', '.join(missing)}", f"See {self.work / script}.log")
        return results

    def _logs(self, script: str) -> list[Path]:
        return [self.work / f"{script}.log", *run_logs(self.work)]

    def _present(self, script: str, path: Path) -> None:
        if not path.exists():
            raise VivadoError(ExitCode.NO_ARTEFACT, f"Vivado ended {script}.tcl with success and without {path}",
                              f"See {self.work / script}.log")

    def _report(self, results: dict[str, str], utilisation: Path) -> dict[str, Any]:
        self._present("build", utilisation)
        tried = attempts(results["tried"])
        results = {key: value for key, value in results.items() if key not in ("done", "tried")}
        return {"name": self.name, "board": self.board.name, "config": self.config.name,
                "config_hash": f"0x{self.config.hash:08X}", "inputs": self.key,
                "clock_mhz_asked": self.board.clock_mhz, "clock_mhz_closed": tried[-1]["asked"], **results,
                "tried": tried,
                "utilisation": _utilisation(utilisation.read_text(errors="replace"))}


def read_report(folder: Path) -> dict[str, Any]:
    """``build.json`` of a finished build. Raises OSError, VivadoError if it is damaged."""
    path = folder / "build.json"
    try:
        found = json.loads(path.read_text())
        facts = {"clock_mhz", "config", "config_hash", "inputs", "version", "wns"}
        if set(found) >= facts and isinstance(found["sha256"], dict):
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise VivadoError(ExitCode.NO_ARTEFACT, f"{path} is damaged", "Build again")


def check_unchanged(folder: Path, report: dict[str, Any]) -> None:
    """Raises VivadoError or OSError unless the files of a build are those that ``report`` was written for."""
    for file, digest in report["sha256"].items():
        if _sha256(folder / file) != digest:
            raise VivadoError(ExitCode.NO_ARTEFACT, f"{folder / file} is not the file that build.json was written for",
                              "Build again")


def _utilisation(text: str) -> dict[str, float]:
    found = {}
    for key, names in _USED.items():
        if row := re.search(rf"(?m)^\|\s*(?:{names})\*?\s*\|\s*([\d.]+)\s*\|", text):
            found[key] = float(row[1])
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
