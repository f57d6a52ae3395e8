# SPDX-License-Identifier: Apache-2.0
"""The golden machine behind the interface of a board: registers, memory, start and done.

It has the methods of ``moevit.host.device.Device``: the same runtime drives a board, the simulated RTL and this device.
The golden machine does not count cycles. The cycle counters read 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import Region
from moevit.spec.registers import BITS, MAGIC, PASS_LOG, REGISTERS, VERSION, ErrorCode, offset, pack_log

from .machine import Machine, ProgramStopped
from .state import Run

__all__ = ["GoldenBuffer", "GoldenDevice"]

BASE = 0x1000_0000
PAGE = 4096


@dataclass
class GoldenBuffer:
    """Bytes that host and machine share.

    ``array`` is the host's copy, ``memory`` the machine's. ``flush`` copies to the machine, ``invalidate`` copies back.
    ``release`` returns the memory to the device.
    """

    address: int
    array: np.ndarray
    memory: np.ndarray
    release: Callable[[], object]

    def flush(self) -> None:
        self.memory[:] = self.array

    def invalidate(self) -> None:
        self.array[:] = self.memory

    def free(self) -> None:
        self.array = self.array[:0]
        self.release()


class GoldenDevice:
    """A board whose machine is a `Machine`. ``memory_bytes`` is the size of its memory."""

    clock_hz = 300e6  # Hz; only converts cycles, which are 0 here
    interrupts = False

    def __init__(self, config: MachineConfig, memory_bytes: int = 1 << 26):
        self.config = config
        self._memory = np.zeros(memory_bytes, np.uint8)
        self._ends: dict[int, int] = {}  # end of each buffer in bytes; the key counts allocations
        self._made = count()
        self._machine = Machine(config, self._read, self._write)
        self._registers = {register.offset: 0 for register in REGISTERS}
        self._log: list[tuple[int, int]] = []
        self._set("MAGIC", MAGIC)
        self._set("VERSION", VERSION)
        self._set("CONFIG_HASH", config.hash)
        self._set("SHAPE", config.k_lanes | config.n_lanes << 8 | config.max_experts << 16)
        self._set("TOKENS", config.max_tokens)
        self._status("IDLE", "READY")

    @property
    def last(self) -> Run:
        """The last run, with its trace."""
        return self._machine.state.run

    def read_register(self, at: int) -> int:
        if PASS_LOG <= at < PASS_LOG + 8 * len(self._log):
            return self._log[(at - PASS_LOG) // 8][(at >> 2) & 1]
        return self._registers.get(at, 0)

    def write_register(self, at: int, value: int) -> None:
        if at == offset("CONTROL"):
            if value >> BITS["RESET"] & 1:
                self._status("IDLE", "READY", "RESET_DONE")
            elif value >> BITS["START"] & 1:
                self._start()
        elif at == offset("INTERRUPT_STATUS"):
            self._registers[at] &= ~value
        elif any(register.offset == at and register.access == "rw" for register in REGISTERS):
            self._registers[at] = value & 0xFFFF_FFFF

    @property
    def _top(self) -> int:
        return -(-max(self._ends.values(), default=0) // PAGE) * PAGE

    def allocate(self, size: int) -> GoldenBuffer:
        """Reserve ``size`` bytes above all buffers that are in use. Raises MemoryError."""
        start = self._top
        if start + size > len(self._memory):
            raise MemoryError(f"{size} bytes do not fit the {len(self._memory) - start} that are left")
        number = next(self._made)
        self._ends[number] = start + size
        return GoldenBuffer(BASE + start, np.zeros(size, np.uint8), self._memory[start:start + size],
                            partial(self._ends.pop, number, None))

    def free_bytes(self) -> int:
        return len(self._memory) - self._top

    def wait(self, timeout: float | None = None) -> None:
        """Return at once: writing START runs the whole program."""

    def reset(self) -> None:
        self.write_register(offset("CONTROL"), 1 << BITS["RESET"])

    def close(self) -> None:
        self._ends.clear()

    def __enter__(self) -> "GoldenDevice":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set(self, name: str, value: int) -> None:
        self._registers[offset(name)] = value

    def _set_wide(self, name: str, value: int) -> None:
        self._set(f"{name}_LOW", value & 0xFFFF_FFFF)
        self._set(f"{name}_HIGH", value >> 32)

    def _wide(self, name: str) -> int:
        return self._registers[offset(f"{name}_LOW")] | self._registers[offset(f"{name}_HIGH")] << 32

    def _status(self, *bits: str) -> None:
        self._set("CONTROL", sum(1 << BITS[bit] for bit in bits))

    def _window(self, kind: str, address: int, size: int) -> slice:
        code = ErrorCode.READ_WINDOW if kind == "READ" else ErrorCode.WRITE_WINDOW
        if not self._wide(f"{kind}_BASE") <= address <= address + size <= self._wide(f"{kind}_LIMIT"):
            raise ProgramStopped(code, self._registers[offset("PC")], f"{size} bytes at 0x{address:X} are outside "
                                 f"the {kind.lower()} window", address)
        return slice(address - BASE, address - BASE + size)

    def _read(self, address: int, size: int) -> np.ndarray:
        self._bytes_read += size
        return self._memory[self._window("READ", address, size)].copy()

    def _write(self, address: int, content: np.ndarray) -> None:
        self._bytes_written += len(content)
        self._memory[self._window("WRITE", address, len(content))] = content

    def _start(self) -> None:
        self._bytes_read = self._bytes_written = 0
        bases = {Region.WEIGHTS: self._wide("WEIGHTS"), Region.GATES: self._wide("GATES"),
                 Region.IMAGE: self._wide("IMAGE")}
        code, pc, address = ErrorCode.NONE, 0, 0
        try:
            self._machine.run(bases, self._wide("OUTPUT"), self._wide("PROGRAM"),
                              self._registers[offset("PROGRAM_LENGTH")])
        except ProgramStopped as stopped:
            code, pc, address = stopped.code, stopped.pc, stopped.address
        run = self.last
        self._log = [(0, pack_log(pc=done.pc, expert=done.expert, rows=done.rows)) for done in run.finished]
        self._set("ERROR_CODE", code)
        self._set("ERROR_PC", pc)
        self._set_wide("ERROR_ADDRESS", address)
        self._set("FINISHED", len(run.finished))
        self._set_wide("MACS", sum(done.macs for done in run.finished))
        self._set_wide("BYTES_READ", self._bytes_read)
        self._set_wide("BYTES_WRITTEN", self._bytes_written)
        self._set_wide("SATURATED", run.saturated)
        self._status("IDLE", "READY", "ERROR" if code else "DONE")
        self._registers[offset("INTERRUPT_STATUS")] |= 2 if code else 1
