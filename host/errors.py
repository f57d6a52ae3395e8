# SPDX-License-Identifier: Apache-2.0
"""Errors between host and machine. Each says the cause, the state, and what to do."""

from typing import Any

from moevit.spec.bundle import BundleError

__all__ = [
    "AccelError", "AcceleratorTimeout", "AlreadyInUse", "BundleMismatch", "BusError", "Busy", "DamagedBundle",
    "MissingFile", "NoMachine", "NotOnBoard", "OutOfContiguousMemory", "OverlayIncomplete", "ProgramRefused",
    "SimulationError", "StaleOverlay", "VersionMismatch", "WrongClock", "WrongInput",
]


class AccelError(RuntimeError):
    """Base of all. ``state`` holds register values and addresses at the time; ``fix`` says what to do."""

    def __init__(self, cause: str, *, fix: str = "", **state: Any):
        super().__init__(f"{cause}. {fix}".strip() if fix else cause)
        self.cause, self.fix, self.state = cause, fix, state


class NotOnBoard(AccelError, ImportError):
    """There is no board here: the package ``pynq`` is missing, or finds none."""


class OverlayIncomplete(AccelError):
    """A file of an overlay is missing, or the machine is not in it."""


class NoMachine(AccelError):
    """Nothing answers with the machine's magic number."""


class VersionMismatch(AccelError):
    """Hardware and software are of different versions."""


class WrongClock(AccelError):
    """The clock of the logic is faster than the one it was built for."""


class StaleOverlay(AccelError):
    """The programmable logic was loaded again since the machine was opened."""


class BundleMismatch(AccelError):
    """The bundle was compiled for another configuration."""


class DamagedBundle(AccelError, BundleError):
    """The bundle is absent, damaged, or of another version of the file format."""


class WrongInput(AccelError, ValueError):
    """An image or a task that the loaded network does not have."""


class MissingFile(AccelError, FileNotFoundError):
    """A file that a notebook needs is in none of the folders where it may be."""


class Busy(AccelError):
    """A run is under way."""


class AlreadyInUse(Busy):
    """Another process, or another object of this one, holds the machine."""


class OutOfContiguousMemory(AccelError, MemoryError):
    """There is not enough physically contiguous memory."""


class AcceleratorTimeout(AccelError, TimeoutError):
    """The run did not end in time, or the machine's watchdog ended it."""


class BusError(AccelError):
    """The memory answered with an error, or an address lies outside its window."""


class ProgramRefused(AccelError):
    """The machine stopped at an instruction."""


class SimulationError(AccelError):
    """The simulator died or broke a rule of the bus."""
