# SPDX-License-Identifier: Apache-2.0
"""What a machine looks like to the runtime. Three bodies have these methods: a PYNQ board (``pynq``), the simulated
board (``moevit.sim.board.simulated_board``), the golden machine (``moevit.golden.machine.device``)."""

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
        """The host's view, u8: the machine sees it after ``flush``, the host the machine's after ``invalidate``."""

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
        """The machine's clock: turns predicted cycles into a deadline."""

    @property
    def interrupts(self) -> bool:
        """Whether ``wait`` uses the machine's interrupt, so that it must be enabled and acknowledged."""

    def read_register(self, at: int) -> int:
        """The 32-bit register at byte offset ``at``; no side effects."""

    def write_register(self, at: int, value: int) -> None:
        """Write a 32-bit register."""

    def allocate(self, size: int) -> Buffer:
        """``size`` bytes of shared memory. Raises MemoryError with what is needed and what is free."""

    def free_bytes(self) -> int | None:
        """Bytes of shared memory that are free (maybe in several pieces); None if that cannot be known."""

    def wait(self, timeout: float) -> None:
        """Return when the run has ended, with DONE or ERROR. Raises TimeoutError after ``timeout`` seconds."""

    def close(self) -> None:
        """Give everything back; may be called twice."""
