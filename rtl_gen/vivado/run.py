# SPDX-License-Identifier: Apache-2.0
"""One run of Vivado: starts it, follows its logs, and ends it together with all processes that it started."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .exits import ExitCode, VivadoError

__all__ = ["Tail", "run_logs", "run_vivado"]

#: Lines of progress.
_PROGRESS = re.compile(r"^(?:moevit: (.*)|(Starting [\w ./-]+ Task|Phase \d[\d.]* .*|Start [A-Z].*?))\s*$")
_POLL = 0.2


class Tail:
    """Follows files that grow, and gives the latest line of progress in them to ``tell``."""

    def __init__(self, paths: Callable[[], Iterable[Path]], tell: Callable[[str], None]):
        self._paths, self._tell = paths, tell
        self._read: dict[Path, int] = {}

    def poll(self) -> None:
        for path in self._paths():
            try:
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    text = file.read()
            except OSError:  # not there yet
                continue
            whole = text.rfind(b"\n") + 1
            self._read[path] = self._read.get(path, 0) + whole
            lines = text[:whole].decode(errors="replace").splitlines()
            told = [found for line in lines if (found := _PROGRESS.match(line))]
            if told:
                self._tell(told[-1][1] or told[-1][2])


def run_logs(work: Path) -> list[Path]:
    """Logs of a project's runs."""
    return sorted((work / "project").glob("*.runs/*/runme.log"))


def run_vivado(vivado: str, script: str, folder: Path, tell: Callable[[str], None]) -> int:
    """Run ``tcl/SCRIPT.tcl`` of a build's folder, with log ``work/SCRIPT.log``. Returns Vivado's exit status.

    Raises VivadoError (INTERRUPTED) after Ctrl-C, SIGTERM or SIGHUP, when Vivado and its children are gone.
    """
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    log = work / f"{script}.log"
    command = [vivado, "-mode", "batch", "-nojournal", "-nolog", "-notrace", "-source", f"../tcl/{script}.tcl"]
    with log.open("wb") as output, _interrupts():
        # A session of its own, so that a signal reaches the runs that Vivado starts.
        process = subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        tail = Tail(lambda: [log, *run_logs(work)], tell)
        try:
            while process.poll() is None:
                tail.poll()
                time.sleep(_POLL)
        except KeyboardInterrupt:
            raise VivadoError(ExitCode.INTERRUPTED, "stopped", "The next build removes what was left") from None
        finally:
            _end(process)
        tail.poll()
    return process.returncode


@contextmanager
def _interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP act as Ctrl-C: they do not reach Vivado's session. A signal that nohup ignores stays so."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the session: Vivado itself, or runs that it left."""
    if process.poll() == 0:
        return
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
