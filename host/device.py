# SPDX-License-Identifier: Apache-2.0
"""The interface between runtime and machine. Three bodies have it: a PYNQ board (``pynq``), the simulated board
(``moevit.sim.board.simulated_board``), the golden machine (``moevit.golden.machine.device``)."""

from typing import Protocol

import numpy as np

__all__ = ["Buffer", "Device"]


class Buffer(Protocol):
    """Physically contiguous memory that host and machine share."""

    @property
    def address(self) -> int:
        """Physical address of the first byte, a multiple of 4096."""

    @property
    def array(self) -> np.ndarray:
        """The host's view, u8. After ``flush`` the machine sees it; after ``invalidate`` it shows what the machine
        wrote."""

    def flush(self) -> None:
        """Make the host's bytes visible to the machine."""

    def invalidate(self) -> None:
        """Make the machine's bytes visible to the host."""

    def free(self) -> None:
        """Give the memory back; may be called twice."""


class Device(Protocol):
    """One machine. Offsets are those of ``moevit.spec.registers``."""

    @property
    def clock_hz(self) -> float:
        """The machine's clock. It makes a deadline of cycles."""

    @property
    def interrupts(self) -> bool:
        """Whether ``wait`` uses the machine's interrupt. If so, the caller enables and acknowledges it."""

    def read_register(self, at: int) -> int:
        """The 32-bit register at byte offset ``at``. Reading has no side effects."""

    def write_register(self, at: int, value: int) -> None:
        """Write a 32-bit register."""

    def allocate(self, size: int) -> Buffer:
        """``size`` bytes of shared memory. Raises MemoryError; the message says how much is needed and free."""

    def free_bytes(self) -> int | None:
        """Bytes of shared memory that are free, perhaps in several pieces; None if the device cannot know."""

    def wait(self, timeout: float) -> None:
        """Return when the run has ended, by DONE or ERROR. Raises TimeoutError after ``timeout`` seconds."""

    def close(self) -> None:
        """Give everything back; may be called twice."""
