# SPDX-License-Identifier: Apache-2.0
"""Stages of a command: a line for each with its time, a bar on a terminal, and a summary after a Ctrl-C."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from moevit.kit.output import make_room

from .screen import errors

__all__ = ["FIRST_LINE", "Stage", "Stages", "interrupted", "line_times"]

#: Without a terminal: seconds from a stage's begin to its first line of progress.
FIRST_LINE = 4.0
#: Most seconds between lines of progress.
_LONGEST = 60.0

_latest: "Stages | None" = None


class Stage:
    """The current stage. Call it with the current detail, and with how much is done of the total."""

    def __init__(self, name: str, progress: Progress, bar: TaskID):
        self.name, self.detail, self.result = name, "", ""
        self.done, self.total = 0.0, 0.0
        self._began, self._progress, self._bar = time.monotonic(), progress, bar

    def __call__(self, detail: str = "", done: float | None = None, total: float | None = None) -> None:
        self.detail = detail or self.detail
        self.done, self.total = self.done if done is None else done, self.total if total is None else total
        self._progress.update(self._bar, detail=self.detail, completed=self.done, total=self.total or None)

    def step(self, detail: str = "") -> None:
        """Count one more as done."""
        self(detail, self.done + 1)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def position(self) -> str:
        return f"{self.done:,.0f} of {self.total:,.0f}" if self.total else ""


class Stages:
    """The stages of a command that writes ``outputs``. Their folders are made at once. Raises OSError if one cannot be
    made.

    >>> stages = Stages(output)
    >>> with stages.stage("quantise", total=layers) as stage:
    ...     quantise(network, tensors, images, watch=stage.step)
    ...     stage.result = "12 blocks"
    """

    def __init__(self, *outputs: Path | None):
        global _latest
        self.outputs = [path for path in outputs if path is not None]
        for path in self.outputs:
            make_room(path)
        self._before = {path: _written(path) for path in self.outputs}
        self._began = time.monotonic()
        self.current: Stage | None = None
        _latest = self

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def show(self, detail: str = "", done: float | None = None) -> None:
        """Update the current stage, if there is one."""
        if self.current:
            self.current(detail, done)

    @contextmanager
    def stage(self, name: str, total: float = 0, quiet: bool = False) -> Iterator[Stage]:
        """Open a stage. Its line at the end has its name, ``result`` if it was set, and seconds.

        During the stage there is a bar; without a terminal, lines of progress (`line_times`). A ``quiet`` stage that
        was quick prints no line.
        """
        progress = Progress(SpinnerColumn("line"), TextColumn("{task.description}", markup=False), BarColumn(20),
                            TextColumn("{task.fields[detail]}", markup=False), TimeElapsedColumn(), console=errors,
                            transient=True, disable=not errors.is_terminal)
        stage = Stage(name, progress, progress.add_task(name, total=total or None, detail=""))
        stage.total, self.current = total, stage
        over = threading.Event()
        if not errors.is_terminal:
            threading.Thread(target=_tell, args=(stage, over), daemon=True).start()
        try:
            with progress:
                yield stage
            if not quiet or stage.seconds > FIRST_LINE:
                _line(stage, stage.result or stage.detail)
            self.current = None
        finally:
            over.set()

    def left(self) -> str:
        """One line about the state after an interrupt: written and unwritten outputs."""
        doing = f" in {self.current.name}" if self.current else ""
        position = f" ({self.current.position})" if self.current and self.current.total else ""
        ready = [str(path) for path in self.outputs if _written(path) != self._before[path]]
        open_ = [str(path) for path in self.outputs if str(path) not in ready]
        parts = [f"written: {', '.join(ready)}"] * bool(ready) + [f"not written: {', '.join(open_)}"] * bool(open_)
        return f"Interrupted{doing}{position} after {self.seconds:.0f} s" + "".join(f"; {part}" for part in parts)


def interrupted() -> str:
    """The line for a Ctrl-C."""
    return _latest.left() if _latest else "Interrupted; nothing was written"


def _written(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def line_times() -> Iterator[float]:
    """Seconds after a stage's begin at which a log gets a line: 4, 8, 16, 32, 64, then each minute.

    On a terminal the bar moves, so nothing is silent for over 5 s. In a log this holds up to a stage's first line:
    later lines only tell that the stage still runs, and too many of them hide the rest.
    """
    due = FIRST_LINE
    while True:
        yield due
        due += min(due, _LONGEST)


def _tell(stage: Stage, over: threading.Event) -> None:
    for due in line_times():
        if over.wait(max(0.0, due - stage.seconds)):
            return
        _line(stage, " ".join(filter(None, (stage.position, stage.detail))))


def _line(stage: Stage, text: str) -> None:
    errors.print(f"{stage.seconds:7.1f} s  {stage.name:<12}  {text}".rstrip(), markup=False, highlight=False,
                 soft_wrap=True)
