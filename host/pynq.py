# SPDX-License-Identifier: Apache-2.0
"""The machine on a PYNQ board: the driver that an overlay binds to it, which is a `Device` of the runtime.

This module imports ``pynq``, so the runtime imports it only for an overlay. It works with PYNQ 3 and 4 on the board,
and with PYNQ 4 from another computer (PYNQ.remote).
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from moevit.spec.arrays import CONFIGS
from moevit.spec.ip import VLNV
from moevit.spec.registers import APERTURE, BITS, offset

from .errors import (
    NotOnBoard,
    OutOfContiguousMemory,
    OverlayIncomplete,
    StaleOverlay,
    VersionMismatch,
    WrongClock,
)
from .interrupts import event_loop, interrupt_or, loop_runs
from .lock import MachineLock

try:
    import pynq
    from pynq import DefaultIP
except ImportError as error:
    raise NotOnBoard("the package pynq is not installed", fix=(
        "Run on a PYNQ image, or from another computer with pip install 'moevit[board]' and PYNQ_REMOTE_DEVICES; "
        "without a board, moevit.sim.board.simulated_board.SimulatedBoard is the same machine")) from error

__all__ = ["ContiguousBuffer", "MoevitIP", "open_overlay"]

MEMINFO = "/proc/meminfo"
DEFAULT_CLOCK_HZ = 100e6  # for a bare address, whose clock is unknown
_POLL_SECONDS = 100e-6
_INTERRUPT_SECONDS = 0.05  # what a lost interrupt costs
_ENDED = 1 << BITS["DONE"] | 1 << BITS["ERROR"]


class ContiguousBuffer:
    """A `Buffer` around the result of ``pynq.allocate``."""

    def __init__(self, buffer: Any):
        self._buffer = buffer
        self.address = int(buffer.device_address)
        self.array = buffer.view(np.ndarray)  # copies of a pynq buffer would claim addresses of their own

    def flush(self) -> None:
        self._buffer.flush()

    def invalidate(self) -> None:
        self._buffer.invalidate()

    def free(self) -> None:
        if self._buffer is not None:
            self.array = self.array[:0].copy()  # freed memory is unmapped
            self._buffer.freebuffer()
            self._buffer = None


class MoevitIP(DefaultIP):
    """The machine at ``description["phys_addr"]``, as an overlay describes it; see `open_overlay`.

    Making one touches nothing. The first access to a register takes the machine's lock, and ``close`` gives it back.
    The lock is a file per board and address, so a second process is refused (AlreadyInUse). ``overlay.moevit_0`` does
    not know its overlay. So clock and loaded bitstream are checked only if ``Accelerator`` gets the overlay itself.
    """

    bindto = [VLNV, *(f"xilinx.com:module_ref:moevit_{name}:1.0" for name in CONFIGS)]

    def __init__(self, description: dict[str, Any]):
        loop = event_loop() if description.get("interrupts") else None
        super().__init__(description=description)
        self.overlay: Any = None  #: if set, registers are touched only while it is loaded
        self.clock_hz = DEFAULT_CLOCK_HZ
        where = getattr(self.device, "ip_addr", None) or getattr(self.device, "tag", "board")
        self.name = f"{where}-{description['phys_addr']:X}"
        self._lock: MachineLock | None = None
        self._buffers: list[ContiguousBuffer] = []
        self._loop = loop if self._interrupt() is not None else None

    @property
    def remote(self) -> bool:
        """Whether the board is another computer."""
        return bool(self.device.has_capability("REMOTE"))

    @property
    def interrupts(self) -> bool:
        """Whether the interrupt is wired, and ``wait`` can use it: not inside a running event loop (notebooks)."""
        usable = self._loop is not None and not self._loop.is_closed() and not self._loop.is_running()
        return usable and not self.remote and not loop_runs()

    def read_register(self, at: int) -> int:
        self._hold()
        return int(self.mmio.read(at)) & 0xFFFF_FFFF

    def write_register(self, at: int, value: int) -> None:
        self._hold()
        self.mmio.write(at, int(value))

    def allocate(self, size: int) -> ContiguousBuffer:
        try:
            buffer = ContiguousBuffer(pynq.allocate(shape=(size,), dtype="u1", target=self.device, cacheable=1))
        except (MemoryError, RuntimeError, OSError) as error:
            raise OutOfContiguousMemory(f"{size:,} bytes in one piece were refused: {error}", needed=size,
                                        free=self.free_bytes()) from error
        self._buffers.append(buffer)
        return buffer

    def free_bytes(self) -> int | None:
        """Free bytes of CMA, from the board's /proc/meminfo."""
        try:
            content = self.device.read_file(MEMINFO).decode() if self.remote else Path(MEMINFO).read_text()
        except OSError:
            return None
        sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in content.splitlines() if "kB" in line}
        return sizes.get("CmaFree", 0) if sizes.get("CmaTotal") else None

    def wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        loop = self._loop if self.interrupts else None
        while not self.read_register(offset("CONTROL")) & _ENDED:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not done after {timeout} s")
            if loop is None:
                time.sleep(min(left, _POLL_SECONDS))
            else:
                loop.run_until_complete(interrupt_or(min(left, _INTERRUPT_SECONDS), self._interrupt()))

    def close(self) -> None:
        while self._buffers:
            self._buffers.pop().free()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _hold(self) -> None:
        if self.overlay is not None and not self.overlay.is_loaded():
            raise StaleOverlay("another bitstream is loaded", fix="Load the overlay again, and make a new Accelerator")
        if self._lock is None:
            self._lock = MachineLock(self.name)

    def _interrupt(self) -> Any:
        """The one interrupt pin, if it leads to the processor."""
        pins = [getattr(self, pin, None) for pin in self._interrupts]
        return pins[0] if pins else None


def open_overlay(overlay: Any) -> MoevitIP:
    """The machine in ``overlay``: a ``pynq.Overlay``, the path of a .bit, which is loaded, or the address of the
    machine's registers if there is no overlay.

    Raises NotOnBoard, OverlayIncomplete, VersionMismatch.
    """
    if isinstance(overlay, int):
        return MoevitIP({"phys_addr": overlay, "addr_range": APERTURE, "device": _board()})
    if isinstance(overlay, (str, os.PathLike)):
        overlay = _load(Path(overlay))
    if not hasattr(overlay, "ip_dict"):
        raise OverlayIncomplete(f"{overlay!r} is no overlay", fix="Give a pynq.Overlay, the path of a .bit, or the "
                                "address of the machine's registers")
    names = [name for name, each in overlay.ip_dict.items() if each["type"] in MoevitIP.bindto]
    if not names:
        raise _not_found(overlay)
    name, description = names[0], overlay.ip_dict[names[0]]
    driver = description.get("driver")  # pynq's own if the overlay was made before this module was imported
    bound = isinstance(driver, type) and issubclass(driver, MoevitIP) and "/" not in name
    machine = getattr(overlay, name) if bound else MoevitIP({**description, "device": overlay.device})
    machine.overlay = overlay
    built = getattr(overlay, "clock_dict", {}).get(0, {}).get("frequency")
    if built:
        if any(map(overlay.device.has_capability, ("MEMORY_MAPPED", "REMOTE"))):  # a board, which has clocks to read
            _check_clock(float(built))
        machine.clock_hz = float(built) * 1e6
    machine.clock_hz = getattr(overlay.device, "clock_hz", machine.clock_hz)  # a simulated device has its own time
    return machine


def _check_clock(built: float) -> None:
    """Raises WrongClock if the logic runs faster than the ``built`` MHz of its timing closure."""
    found = float(pynq.Clocks.fclk0_mhz)
    if found > 1.01 * built:
        raise WrongClock(f"the logic runs at {found:g} MHz, it was built for {built:g} MHz", found=found, built=built,
                         fix=f"Set pynq.Clocks.fclk0_mhz = {built:g}, or load the overlay again")


def _board() -> Any:
    """The device of pynq. Raises NotOnBoard if it finds none."""
    try:
        return pynq.Device.active_device
    except RuntimeError as error:
        raise NotOnBoard(f"pynq finds no board: {error}", fix=(
            "Run as root on a PYNQ board, or set PYNQ_REMOTE_DEVICES before pynq is imported; without a board, "
            "moevit.sim.board.simulated_board.SimulatedBoard is the same machine")) from error


def _load(path: Path) -> Any:
    description = path.with_suffix(".hwh")
    installed = path.parent == Path() and not path.exists()  # a bare name may be an overlay that pynq knows
    for each in (path, description):
        if not installed and not each.exists():
            raise OverlayIncomplete(f"{each} is missing", fix=f"{path.name} and {description.name} must lie in one "
                                    "folder; both come from the release archive of the board")
    board = _board()
    try:
        return pynq.Overlay(str(path), device=board)
    except Exception as error:  # pynq has no errors of its own: a damaged .hwh raises any error of its parser
        raise OverlayIncomplete(f"the overlay {path} cannot be loaded: {type(error).__name__}: {error}", fix=(
            f"Copy {path.name} and {description.name} again if they are damaged; loading needs root: sudo -E, or a "
            "PYNQ notebook")) from error


def _not_found(overlay: Any) -> Exception:
    types = sorted(str(each["type"]) for each in overlay.ip_dict.values())
    for each in types:
        if each.rpartition(":")[0] == VLNV.rpartition(":")[0]:
            return VersionMismatch(f"the overlay has {each}, this package drives {VLNV}", overlay=each,
                                   fix="Use the bitstream and the package of one release")
    return OverlayIncomplete(f"no {VLNV} is in the overlay, it has {', '.join(types) or 'nothing'}", types=types,
                             fix="Load the overlay that was built for this machine")
