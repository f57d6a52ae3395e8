# SPDX-License-Identifier: Apache-2.0
"""Faults of a board, provoked under the real pynq package: the error that the host raises, and the run after it."""

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from moevit.host.errors import AcceleratorTimeout, AlreadyInUse, BundleMismatch, BusError, WrongInput
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle
from moevit.spec.registers import BITS, offset

from ..board.simulated_board import SimulatedBoard
from ..verilator.settings import Fault, FaultKind, MemorySettings
from .device import simulated_overlay

__all__ = ["ENDED", "FAULTS", "STALE", "Station", "forget_a_flush", "leave_a_run_behind"]

STALE, ENDED = "the old image's tokens", "ended by the next opener"


@dataclass
class Station:
    """A board, an accelerator opened through pynq, and one image with its expected tokens s16, by task."""

    board: SimulatedBoard
    overlay: Any
    accelerator: Accelerator
    bundle: Bundle
    image: np.ndarray
    expected: dict[str, np.ndarray]

    @property
    def task(self) -> str:
        return next(iter(self.expected))

    def run(self, image: np.ndarray | None = None, timeout: float = 3600) -> np.ndarray:
        return self.accelerator.run_raw(self.image if image is None else image, self.task, timeout)

    def run_with(self, kind: FaultKind, part: str) -> None:
        """A run in which the memory fails at one place of ``part`` (a name of ``Accelerator.addresses``)."""
        base = self.accelerator.addresses[part] + 64
        self.board.memory = MemorySettings(fault=Fault(kind=kind, base=base, limit=base + 64))
        try:
            self.run()
        finally:
            self.board.memory = MemorySettings()


def _no_answer(station: Station) -> None:
    """The memory owes an answer, so only a reload of the bitstream helps: here, a reset of machine and memory."""
    try:
        station.run_with(FaultKind.NO_ANSWER, "weights")
    finally:
        station.board.reset()
        station.accelerator.reset()
        station.accelerator.load(station.bundle)


def _other_configuration(station: Station) -> None:
    manifest = {**station.bundle.manifest, "config_hash": station.bundle.manifest["config_hash"] ^ 1}
    station.accelerator.load(dataclasses.replace(station.bundle, manifest=manifest))


def _second_opener(station: Station) -> None:
    with simulated_overlay(CONFIGS[station.bundle.manifest["config"]], board=station.board) as overlay:
        Accelerator(overlay).close()


#: By name: what provokes the fault, and the error that the host must raise. The next run must be right.
FAULTS: dict[str, tuple[Callable[[Station], Any], type[Exception]]] = {
    "weights answered with SLVERR": (lambda station: station.run_with(FaultKind.SLVERR, "weights"), BusError),
    "weights answered with DECERR": (lambda station: station.run_with(FaultKind.DECERR, "weights"), BusError),
    "tokens answered with SLVERR": (lambda station: station.run_with(FaultKind.SLVERR, "output0"), BusError),
    "run not done in time": (lambda station: station.run(timeout=0), AcceleratorTimeout),
    "memory without an answer": (_no_answer, AcceleratorTimeout),
    "bundle of another configuration": (_other_configuration, BundleMismatch),
    "image of another shape": (lambda station: station.run(station.image[1:]), WrongInput),
    "second opener": (_second_opener, AlreadyInUse),
}


@contextmanager
def _without_flush(device: Any) -> Iterator[None]:
    device.flush = lambda *_: None
    try:
        yield
    finally:
        del device.flush


def forget_a_flush(station: Station) -> str:
    """Run another image without a flush: the machine must still see the old image. Returns what came out."""
    old, other = station.run(), 255 - station.image
    with _without_flush(station.overlay.device):
        stale = station.run(other)
    fresh = station.run(other)
    if np.array_equal(fresh, old):
        return "the same tokens for another image"
    return STALE if np.array_equal(stale, old) else "not the old image's tokens"


def leave_a_run_behind(board: SimulatedBoard, overlay: Any, bundle: Bundle) -> str:
    """A child process opens the machine, starts a run and is killed; then this one opens it. Returns the result."""
    child = os.fork()
    if child == 0:
        try:
            accelerator = Accelerator(overlay)
            accelerator.load(bundle)
            overlay.moevit_0.write(offset("CONTROL"), 1 << BITS["START"])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)  # nothing is given back, no finaliser runs
    os.waitpid(child, 0)
    if board.read_register(offset("CONTROL")) >> BITS["IDLE"] & 1:
        return "no run was left behind"
    with Accelerator(overlay):
        idle = board.read_register(offset("CONTROL")) >> BITS["IDLE"] & 1
    return ENDED if idle else "still running"
