# SPDX-License-Identifier: Apache-2.0
"""The runtime: load a bundle, run images for a task, read back tokens and what they cost."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from moevit.spec.bundle import Bundle

from .arena import SLOTS
from .control import Control
from .device import Device
from .errors import AccelError, BundleMismatch, Busy, WrongInput
from .images import check_images, check_timeout
from .loaded import LoadedBundle, read_bundle
from .report import RunReport, read_passes

__all__ = ["Accelerator"]

_log = logging.getLogger(__name__)


class Accelerator:
    """A machine with a network loaded.

    >>> accelerator = Accelerator(overlay)
    >>> accelerator.load("demo.bundle")
    >>> tokens = accelerator.run(image, task="depth")

    ``machine`` is a ``pynq.Overlay``, the path of a .bit, the address of the machine's registers, or any `Device`. A
    given `Device` stays open when the Accelerator closes. A run that another process left behind is ended before
    anything else. While one thread runs or loads, another thread is refused (Busy).

    Raises NotOnBoard, OverlayIncomplete, NoMachine or VersionMismatch if there is no such machine, AlreadyInUse if
    another process has it, AcceleratorTimeout if its run cannot be ended.
    """

    def __init__(self, machine: Any):
        self._owner = not hasattr(machine, "read_register")
        self.device: Device = _open(machine) if self._owner else machine
        self.last_run: RunReport | None = None
        self._loaded: LoadedBundle | None = None
        self._kept: LoadedBundle | None = None  # no longer loaded, but the machine may still write its memory
        self._lock, self._closed = threading.RLock(), False
        try:
            self._control = Control(self.device)
        except BaseException:
            if self._owner:
                self.device.close()
            raise
        self._registers = self._control.registers

    def __enter__(self) -> "Accelerator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the run under way, give back all shared memory, and the machine if it was opened here.

        A run of another thread is waited for. May be called twice. Every other call after it raises AccelError.
        """
        with self._lock:
            self._closed = True
            self._unload()
            if self._control.running:
                _log.error("the machine may still write its memory, which is kept until this process ends: "
                           "reload the bitstream")
            elif self._owner:
                self.device.close()

    @property
    def bundle(self) -> Bundle:
        """The loaded bundle. Raises AccelError if there is none."""
        self._check_open()
        return self._ready.bundle

    @property
    def report(self) -> RunReport:
        """``last_run``. Raises AccelError if nothing has run."""
        if self.last_run is None:
            raise AccelError("nothing has run yet", fix="Call run() first")
        return self.last_run

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the loaded bundle's tasks."""
        return self.bundle.tasks

    @property
    def deadline(self) -> float:
        """Seconds after which a run of the loaded bundle counts as stuck."""
        return self._control.deadline(self.bundle)

    @property
    def addresses(self) -> dict[str, int]:
        """Physical address of each loaded part: program, weights, gates, image0, output0, ...; empty without any."""
        return dict(self._loaded.addresses) if self._loaded else {}

    def load(self, bundle: Bundle | str | Path) -> None:
        """Put a bundle into shared memory, in place of the loaded one.

        A bundle that cannot be read or is for another machine changes nothing. After any later error nothing is loaded
        or allocated. Raises DamagedBundle, BundleMismatch, OutOfContiguousMemory, Busy.
        """
        with self._alone():
            self._load(bundle if isinstance(bundle, Bundle) else read_bundle(Path(bundle)))

    def _load(self, bundle: Bundle) -> None:
        here, wanted = self._registers.read("CONFIG_HASH"), bundle.manifest["config_hash"]
        if here != wanted:
            raise BundleMismatch(
                f"the bundle is for configuration {bundle.manifest['config']} (0x{wanted:08X}), "
                f"this machine is 0x{here:08X}", fix="Compile the model for this machine's configuration")
        self._unload()
        if self._control.running:
            raise Busy("a run cannot be ended and keeps its memory", fix="Reload the bitstream, in a new process")
        self._loaded = LoadedBundle(self.device, self._registers, bundle)

    def run(self, images: np.ndarray, task: str, timeout: float | None = None) -> np.ndarray:
        """Tokens (batch, tokens, dim) float32 of images (batch, height, width, 3) u8 for ``task``.

        ``batch`` is the bundle's. If it is 1, the image may lack this axis, and then the tokens lack it too.
        ``timeout`` in seconds; left out, `deadline`. Raises WrongInput, Busy, StaleOverlay, AcceleratorTimeout,
        BusError, ProgramRefused.
        """
        tokens = self.run_raw(images, task, timeout)
        return self._ready.scaled(tokens)

    def run_raw(self, images: np.ndarray, task: str, timeout: float | None = None) -> np.ndarray:
        """As `run`, but the integers that the machine wrote: s16, value x 2^fraction."""
        with self._alone():
            check_images(self.bundle, images)
            self._check_task(task)
            check_timeout(timeout)
            self._control.check_ready(self.bundle)
            self._ready.put_images(0, images)
            self._start(task, 0)
            self._control.finish(self.bundle, timeout)
            self._read_report(task, passes=True)
            return self._ready.tokens(0, images)

    def stream(self, images: Iterable[np.ndarray], task: str, timeout: float | None = None) -> Iterator[np.ndarray]:
        """As `run` for each of ``images``, in order.

        While the machine works on an image, the host takes and copies the next one and returns the tokens of the one
        before. ``last_run`` has the counters of each run. It has the passes of the last run alone, because reading them
        takes time.
        """
        self._check_task(task)
        check_timeout(timeout)
        running: tuple[np.ndarray, int] | None = None
        run = 0
        try:
            for index, image in enumerate(images):
                with self._alone():
                    if running is None:
                        self._control.check_ready(self.bundle)
                    else:
                        self._control.check_under_way(run)
                    check_images(self.bundle, image)
                    self._ready.put_images(index % SLOTS, image)
                    before = running
                    if before is not None:
                        self._control.finish(self.bundle, timeout)
                        self._read_report(task, passes=False)
                    run = self._control.runs + 1  # before the start, so that an interrupt in it ends this run
                    self._start(task, index % SLOTS)
                    running = image, index % SLOTS
                    tokens = self._scaled_tokens(*before) if before is not None else None
                if tokens is not None:
                    yield tokens
            if running is not None:
                with self._alone():
                    self._control.check_under_way(run)
                    self._control.finish(self.bundle, timeout)
                    self._read_report(task, passes=True)
                    tokens = self._scaled_tokens(*running)
                yield tokens
        finally:
            self._control.abort(run)  # this stream's run alone; nothing is under way if all tokens were taken

    def select(self, task: str) -> None:
        """Point the machine at a task's gates: the only difference between tasks, one register write. Raises
        WrongInput, Busy."""
        with self._alone():
            self._check_task(task)
            self._ready.select(task)

    def reset(self) -> None:
        """Soft reset: the machine lets its bursts end, forgets the run, and is idle. Raises AcceleratorTimeout."""
        self._check_open()
        self._control.reset()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other threads out. Raises Busy."""
        self._check_open()
        if not self._lock.acquire(blocking=False):
            raise Busy("another thread works with this Accelerator", fix="Wait for it, or let one thread do all runs")
        try:
            yield
        finally:
            self._lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise AccelError("this Accelerator is closed", fix="Make a new one")

    @property
    def _ready(self) -> LoadedBundle:
        if self._loaded is None:
            raise AccelError("no bundle is loaded", fix="Call load() first")
        return self._loaded

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise WrongInput(f"no task is called {task!r}", fix=f"The tasks are {', '.join(self.tasks)}")

    def _start(self, task: str, slot: int) -> None:
        self.select(task)
        self._ready.use_slot(slot)
        self._control.start()

    def _read_report(self, task: str, passes: bool) -> None:
        log = read_passes(self.device, self._registers, self.bundle) if passes else ()
        self.last_run = RunReport(task, self._registers.counters(), log)

    def _scaled_tokens(self, images: np.ndarray, slot: int) -> np.ndarray:
        return self._ready.scaled(self._ready.tokens(slot, images))

    def _unload(self) -> None:
        """Forget the bundle. Its memory is given back unless the machine may still write it."""
        self._control.abort()
        self._kept, self._loaded = self._loaded or self._kept, None
        if self._kept is not None and not self._control.running:
            self._kept.free()
            self._kept = None


def _open(machine: Any) -> Device:
    from .pynq import open_overlay  # only here, since it needs the package pynq

    return open_overlay(machine)
