# SPDX-License-Identifier: Apache-2.0
"""Shows how far a simulation is."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.status import Status

__all__ = ["WaitProgress", "announced", "status"]

_PATIENCE_SECONDS = 2.0  # longer waits show a status line


def status(what: str) -> Status:
    """A status line on stderr, if that is a terminal. A notebook's stderr claims to be one, and gets no line."""
    notebook = Console(stderr=True).is_jupyter
    return Console(stderr=True, force_jupyter=False, force_terminal=False if notebook else None).status(what)


def announced(what: str, watch: Callable[[str], object] | None) -> AbstractContextManager[object]:
    """Tell ``watch`` what is being done; without it, show a status line until the block ends."""
    if watch is None:
        return status(what)
    watch(what)
    return nullcontext()


class WaitProgress:
    """Gives the cycles of a wait to ``report``; without it, shows a status line when the wait becomes long."""

    def __init__(self, report: Callable[[int], None] | None):
        self._report, self._began = report, time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> "WaitProgress":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._status is not None:
            self._status.stop()

    def since(self, done: int) -> Callable[[int], None]:
        """A function that takes the cycles after the first ``done``."""
        return lambda cycles: self._show(done + cycles)

    def _show(self, cycles: int) -> None:
        if self._report is not None:
            self._report(cycles)
            return
        seconds = time.monotonic() - self._began
        if seconds > _PATIENCE_SECONDS:
            text = f"Simulating: {cycles:,} cycles, {cycles / seconds:,.0f} per second"
            if self._status is None:
                self._status = status(text)
                self._status.start()
            self._status.update(text)
