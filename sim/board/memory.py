# SPDX-License-Identifier: Apache-2.0
"""The simulated DDR on the host's side: a file that the simulator maps too, and buffers in it."""

from pathlib import Path

import numpy as np

from moevit.host.errors import OutOfContiguousMemory

__all__ = ["SimulatedMemory", "SimulatedBuffer"]

PAGE = 4096
_HEADER = 4096  # as shared_memory.cpp has it
_UNTOUCHED = 0xA5  # bytes of a new buffer in DDR, which the machine reads if the host forgets to flush


class SimulatedBuffer:
    """Bytes that host and machine share. ``array`` is the host's cache: ``flush`` and ``invalidate`` move its bytes."""

    def __init__(self, arena: "SimulatedMemory", address: int, size: int):
        self._arena: SimulatedMemory | None = arena
        self.address = address
        self.array = np.zeros(size, np.uint8)

    def flush(self, part: slice = slice(None)) -> None:
        self._memory()[part] = self.array[part]

    def invalidate(self, part: slice = slice(None)) -> None:
        self.array[part] = self._memory()[part]

    def free(self) -> None:
        if self._arena is not None:
            self._arena.release(self)
            self._arena = None

    def _memory(self) -> np.ndarray:
        if self._arena is None:
            raise ValueError(f"the buffer at 0x{self.address:X} was freed")
        return self._arena.view(self.address, len(self.array))


class SimulatedMemory:
    """``size`` bytes of DDR from address ``base`` on. Allocation is first fit, in pages."""

    def __init__(self, path: Path, base: int, size: int):
        if base % PAGE or size % PAGE or size <= 0:
            raise ValueError(f"base and size must be multiples of {PAGE}, not 0x{base:X} and {size}")
        with open(path, "wb") as file:
            file.write(base.to_bytes(8, "little"))
            file.truncate(_HEADER + size)
        self.base, self.size = base, size
        self._bytes: np.ndarray | None = np.memmap(path, np.uint8, "r+", offset=_HEADER, shape=(size,))
        self._used: dict[int, int] = {}  # address -> bytes, whole pages

    @property
    def free(self) -> int:
        """Bytes that are not allocated, perhaps in several pieces."""
        return self.size - sum(self._used.values())

    def allocate(self, size: int) -> SimulatedBuffer:
        """A buffer of ``size`` bytes. Raises OutOfContiguousMemory."""
        if size <= 0:
            raise ValueError(f"a buffer must have at least one byte, not {size}")
        pages = -(-size // PAGE) * PAGE
        address = self.base
        for start in sorted(self._used):
            if start - address >= pages:
                break
            address = start + self._used[start]
        if address + pages > self.base + self.size:
            raise OutOfContiguousMemory(f"no {pages} bytes in one piece; {self.free} of {self.size} bytes are free",
                                        fix="Free other buffers, or give the simulated board more memory_bytes",
                                        needed=pages, free=self.free)
        self._used[address] = pages
        self.view(address, pages)[:] = _UNTOUCHED
        return SimulatedBuffer(self, address, size)

    def release(self, buffer: SimulatedBuffer) -> None:
        """Take the memory of ``buffer`` back."""
        del self._used[buffer.address]

    def view(self, address: int, size: int) -> np.ndarray:
        """The bytes of the DDR itself, u8, without the host's caches."""
        if self._bytes is None:
            raise ValueError("the simulated board is closed")
        start = address - self.base
        if not 0 <= start <= start + size <= self.size:
            raise ValueError(f"{size} bytes at 0x{address:X} are outside the simulated DDR")
        return self._bytes[start:start + size]

    def close(self) -> None:
        self._bytes = None
