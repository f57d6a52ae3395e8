# SPDX-License-Identifier: Apache-2.0
"""The runtime: load a bundle, run images for a task, read back tokens and what they cost."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from moevit.spec.bundle import Bundle, BundleError

from .arena import SLOTS, Arena
from .control import Control
from .device import Device
from .errors import AccelError, BundleMismatch, Busy, DamagedBundle, WrongInput
from .images import check_images, tokens_of
from .report import RunReport, read_passes

__all__ = ["Accelerator"]

WATCHDOG_CYCLES = 200_000  # a machine without any progress for so long is stuck, whatever the memory does
_LONGEST = 1_000_000  # seconds
_log = logging.getLogger(__name__)


class Accelerator:
    """A machine with a network loaded.

    >>> accelerator = Accelerator(overlay)
    >>> accelerator.load("demo.bundle")
    >>> tokens = accelerator.run(image, task="depth")

    ``machine`` is a ``pynq.Overlay``, the path of a .bit, the address of the machine's registers, or any `Device`
    (which stays its owner's to close). A run that someone else left behind is ended before anything else. Runs and
    loads of a second thread meanwhile are refused (Busy).

    Raises NotOnBoard, OverlayIncomplete, NoMachine or VersionMismatch if there is no such machine, AlreadyInUse if
    another process has it, AcceleratorTimeout if what it does cannot be ended.
    """

    def __init__(self, machine: Any):
        self._owner = not hasattr(machine, "read_register")
        self.device: Device = _open(machine) if self._owner else machine
        self.last_run: RunReport | None = None
        self._bundle: Bundle | None = None
        self._arena: Arena | None = None
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
        """End what runs, give all shared memory back, and the machine if it was opened here. A run of another thread is
        waited for. May be called twice; whatever else is called after it raises AccelError."""
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
        self._check_open()
        if self._bundle is None:
            raise AccelError("no bundle is loaded", fix="Call load() first")
        return self._bundle

    @property
    def report(self) -> RunReport:
        """``last_run`` of a machine that has run."""
        if self.last_run is None:
            raise AccelError("nothing has run yet", fix="Call run() first")
        return self.last_run

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.bundle.tasks

    @property
    def deadline(self) -> float:
        """Seconds after which a run of the loaded bundle is taken for stuck."""
        return self._control.deadline(self.bundle)

    @property
    def addresses(self) -> dict[str, int]:
        """Physical address of each part of what is loaded: program, weights, gates, image0, output0, ..."""
        return dict(self._arena.addresses) if self._arena else {}

    def load(self, bundle: Bundle | str | Path) -> None:
        """Put a bundle into shared memory, in place of what was loaded.

        A bundle that cannot be read or is for another machine changes nothing; after any later error nothing is
        loaded or allocated. Raises DamagedBundle, BundleMismatch, OutOfContiguousMemory, Busy.
        """
        with self._alone():
            self._load(bundle if isinstance(bundle, Bundle) else _read(Path(bundle)))

    def _load(self, bundle: Bundle) -> None:
        here, wanted = self._registers.read("CONFIG_HASH"), bundle.manifest["config_hash"]
        if here != wanted:
            raise BundleMismatch(
                f"the bundle is for configuration {bundle.manifest['config']} (0x{wanted:08X}), "
                f"this machine is 0x{here:08X}", fix="Compile the model for this machine's configuration")
        self._unload()
        if self._control.running:
            raise Busy("a run cannot be ended and keeps its memory", fix="Reload the bitstream, in a new process")
        try:
            self._arena, self._bundle = Arena(self.device, bundle), bundle
            self._point(self._arena)
        except BaseException:
            self._unload()
            raise

    def _point(self, arena: Arena) -> None:
        """Tell the machine where everything lies, and what it may touch."""
        self._registers.forget()
        for name in ("program", "weights"):
            self._registers.set_wide(name.upper(), arena.addresses[name])
        self._registers.set("PROGRAM_LENGTH", self.bundle.program_length)
        for name, (base, limit) in (("READ", arena.reads), ("WRITE", arena.writes)):
            self._registers.set_wide(f"{name}_BASE", base)
            self._registers.set_wide(f"{name}_LIMIT", limit)
        self._registers.set("WATCHDOG", min(max(WATCHDOG_CYCLES, self.bundle.manifest["deadline_cycles"]), 0xFFFF_FFFF))
        self.select(self.tasks[0])
        self._use_slot(0)

    def run(self, images: np.ndarray, task: str, timeout: float | None = None) -> np.ndarray:
        """Tokens (batch, tokens, dim) float32 of images (batch, height, width, 3) u8 for ``task``.

        ``batch`` is the bundle's; if it is 1 the axis may be left out, of the image and so of the tokens.
        ``timeout`` in seconds, `deadline` if left out. Raises WrongInput, Busy, StaleOverlay, AcceleratorTimeout,
        BusError, ProgramRefused.
        """
        return self._scaled(self.run_raw(images, task, timeout))

    def run_raw(self, images: np.ndarray, task: str, timeout: float | None = None) -> np.ndarray:
        """As ``run``, but the integers that the machine wrote: s16, value x 2^fraction."""
        with self._alone():
            check_images(self.bundle, images)
            self._check_request(task, timeout)
            self._control.check_ready(self.bundle)
            self._memory.put_images(0, images)
            self._start(task, 0)
            self._control.finish(self.bundle, timeout)
            self._read_report(task, passes=True)
            return self._tokens(0, images)

    def stream(self, images: Iterable[np.ndarray], task: str, timeout: float | None = None) -> Iterator[np.ndarray]:
        """As ``run`` for each of ``images``, in order. While the machine works on one, the next is taken from the
        iterable and copied, and the one before it is returned.

        ``last_run`` has counters after each; passes are read after the last one alone, since that takes time.
        """
        self._check_request(task, timeout)
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
                    self._memory.put_images(index % SLOTS, image)
                    before = running
                    if before is not None:
                        self._control.finish(self.bundle, timeout)
                        self._read_report(task, passes=False)
                    run = self._control.runs + 1  # known before it is started, whatever interrupts that
                    self._start(task, index % SLOTS)
                    running = image, index % SLOTS
                    tokens = self._scaled(self._tokens(before[1], before[0])) if before is not None else None
                if tokens is not None:
                    yield tokens
            if running is not None:
                with self._alone():
                    self._control.check_under_way(run)
                    self._control.finish(self.bundle, timeout)
                    self._read_report(task, passes=True)
                    tokens = self._scaled(self._tokens(running[1], running[0]))
                yield tokens
        finally:
            self._control.abort(run)  # this stream's alone; does nothing if all were taken

    def select(self, task: str) -> None:
        """Point the machine at a task's gates: the only difference between tasks, one register write. Raises
        WrongInput, Busy."""
        with self._alone():
            self._check_task(task)
            self._registers.set_wide("GATES", self._memory.addresses["gates"]
                                     + self.tasks.index(task) * self.bundle.manifest["gate_stride"])

    def reset(self) -> None:
        """Soft reset: the machine lets its bursts end, forgets the run, and is idle. Raises AcceleratorTimeout."""
        self._check_open()
        self._control.reset()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What no two threads may do at once. Raises Busy."""
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
    def _memory(self) -> Arena:
        if self._arena is None:
            raise AccelError("no bundle is loaded", fix="Call load() first")
        return self._arena

    def _use_slot(self, slot: int) -> None:
        self._registers.set_wide("IMAGE", self._memory.addresses[f"image{slot}"])
        self._registers.set_wide("OUTPUT", self._memory.addresses[f"output{slot}"])

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise WrongInput(f"no task is called {task!r}", fix=f"The tasks are {', '.join(self.tasks)}")

    def _check_request(self, task: str, timeout: float | None) -> None:
        self._check_task(task)
        number = isinstance(timeout, Real) and not isinstance(timeout, bool)
        if timeout is not None and not (number and 0 <= timeout <= _LONGEST):
            raise WrongInput(f"a timeout of {timeout!r} is no number of seconds from 0 to {_LONGEST:,}",
                             fix="Leave it out for the bundle's own deadline")

    def _start(self, task: str, slot: int) -> None:
        self.select(task)
        self._use_slot(slot)
        self._control.start()

    def _read_report(self, task: str, passes: bool) -> None:
        log = read_passes(self.device, self._registers, self.bundle) if passes else ()
        self.last_run = RunReport(task, self._registers.counters(), log)

    def _tokens(self, slot: int, images: np.ndarray) -> np.ndarray:
        """What the machine wrote for ``images``, s16."""
        return tokens_of(self.bundle, self._memory.output(slot), images.ndim == 4)

    def _scaled(self, tokens: np.ndarray) -> np.ndarray:
        return tokens.astype(np.float32) / np.float32(1 << self.bundle.manifest["output"]["fraction"])

    def _unload(self) -> None:
        self._control.abort()
        if self._arena is not None and not self._control.running:
            self._arena.free()
            self._arena = None
        self._bundle = None


def _read(path: Path) -> Bundle:
    try:
        return Bundle.load(path)
    except BundleError as error:
        raise DamagedBundle(str(error), fix="Copy or compile it again", path=str(path)) from error


def _open(machine: Any) -> Device:
    from .pynq import open_overlay  # only here, since it needs the package pynq

    return open_overlay(machine)
