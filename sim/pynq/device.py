# SPDX-License-Identifier: Apache-2.0
"""The RTL under the real ``pynq`` package: a pynq device whose registers and memory are a simulated board's.

>>> with simulated_overlay(CONFIGS["16x16"]) as overlay, Accelerator(overlay) as accelerator:
...     accelerator.load("demo.bundle")

Everything from ``pynq.Overlay`` upwards is the code of a board: hardware handoff, driver binding, register map,
buffers, interrupt. Below it, register accesses cross the RTL's AXI4-Lite, and buffers lie in the simulated DDR.
"""

import asyncio
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from moevit.host.errors import BusError
from moevit.rtl_gen.hwh import INTERRUPT_CONTROLLER, handoff
from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.ip import CELL
from moevit.spec.registers import BITS, offset

from ..board.memory import SimulatedBuffer
from ..board.simulated_board import SimulatedBoard
from .interrupt_controller import InterruptController

with warnings.catch_warnings():
    # pynq says this on any computer that is no board. A simulated device does not need what is missing.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "Pynq does not support the CPU Architecture", ResourceWarning)
    from pynq import Clocks, Overlay
    from pynq.buffer import PynqBuffer
    from pynq.interrupt import _InterruptController
    from pynq.pl_server.device import Device
    from pynq.pl_server.remote_device import RemoteBitstreamHandler

__all__ = ["POLL_CYCLES", "SimulatedPynqBuffer", "SimulatedPynqDevice", "simulated_overlay"]

#: Clock cycles between two looks at a busy machine, by polling or for the interrupt.
POLL_CYCLES = 5_000
_LINES = (61, 121)  # Linux's number of the first interrupt from the logic: Zynq-7000, Zynq UltraScale+
_PLACEHOLDER = b"placeholder: the simulated device loads no bitstream\n"


class SimulatedPynqBuffer(PynqBuffer):
    """The buffer of ``pynq.allocate`` in the simulated DDR.

    Host and DDR have a copy each, even if the buffer is not cacheable. The machine sees bytes only after a flush, the
    host only after an invalidate.
    """

    def freebuffer(self) -> None:
        """Give the memory back; may be called twice. Views of the buffer free nothing."""
        if hasattr(self, "memory"):
            self.bo.free()


class _Memory:
    """The DDR as ``Device.default_memory``."""

    def __init__(self, device: "SimulatedPynqDevice"):
        self._device = device

    def allocate(self, shape: int | tuple[int, ...], dtype: Any, *, cacheable: bool = False) -> SimulatedPynqBuffer:
        """Raises OutOfContiguousMemory."""
        elements = math.prod(shape) if isinstance(shape, tuple | list) else shape
        simulated = self._device.board.allocate(int(elements) * np.dtype(dtype).itemsize)
        buffer = SimulatedPynqBuffer(shape, dtype, buffer=simulated.array, bo=simulated, device=self._device,
                                     device_address=simulated.address, coherent=False)
        buffer.memory = self
        return buffer


class _Uio:
    """Stands for the Linux device that passes an interrupt on. The clock runs while a coroutine waits for it."""

    def __init__(self, device: "SimulatedPynqDevice"):
        self._device: SimulatedPynqDevice | None = device
        self._events: list[Any] = []

    def add_event(self, event: Any, number: int) -> None:
        """pynq's interrupt controller calls this inside a coroutine. ``event`` is set when the line is high."""
        if not self._events:
            asyncio.get_running_loop().call_soon(self._look)
        self._events.append(event)

    def close(self) -> None:
        """Set no event any more."""
        self._device = None

    def _look(self) -> None:
        if self._device is None:
            return
        if not self._device.interrupts.output:
            self._device.board.run(POLL_CYCLES)
            asyncio.get_running_loop().call_soon(self._look)
            return
        events, self._events = self._events, []
        for event in events:
            event.set()


class SimulatedPynqDevice(Device):
    """A pynq device over ``board``. Probing never finds it, so it never takes the place of a real board's device."""

    _probe_priority_ = 1_000
    clock_hz = 10e3  # cycles that any computer simulates in a second: the host's deadline counts real seconds

    def __init__(self, board: SimulatedBoard):
        super().__init__(f"simulation-{board.pid}")
        self.board = board
        self.capabilities = {"REGISTER_RW": True}
        self.default_memory = _Memory(self)
        self.interrupts = InterruptController(lambda: board.irq)
        self.register_writes = 0  #: of the machine's registers, since the device was made
        self.timestamp = ""  # as before any download
        self._busy = False

    @classmethod
    def _probe_(cls) -> list[Device]:
        return []

    def get_bitfile_metadata(self, bitfile_name: str) -> Any:
        return _Handoff(bitfile_name).get_parser()

    def read_registers(self, address: int, length: int) -> bytes:
        """Bytes at a physical address, by one register access for each 32-bit word. Raises BusError."""
        return b"".join(self._read(address + at).to_bytes(4, "little") for at in range(0, length, 4))

    def write_registers(self, address: int, data: bytes) -> None:
        for at in range(0, len(data), 4):
            cell, place = self._place(address + at)
            value = int.from_bytes(bytes(data[at:at + 4]), "little")
            if cell == CELL:
                self.register_writes += 1
                self.board.write_register(place, value)
            else:
                self.interrupts.write(place, value)

    def flush(self, bo: SimulatedBuffer, start: int, _: int, size: int) -> None:
        bo.flush(slice(start, start + size))

    def invalidate(self, bo: SimulatedBuffer, start: int, _: int, size: int) -> None:
        bo.invalidate(slice(start, start + size))

    def _read(self, address: int) -> int:
        cell, place = self._place(address)
        if cell != CELL:
            return self.interrupts.read(place)
        if place != offset("CONTROL"):
            return self.board.read_register(place)
        if self._busy:  # otherwise time would stand still while a host polls
            self.board.run(POLL_CYCLES)
        value = self.board.read_register(place)
        self._busy = not value >> BITS["IDLE"] & 1
        return value

    def _place(self, address: int) -> tuple[str, int]:
        """The cell of the block design that answers at a physical address, and the offset in it."""
        for cell in (CELL, INTERRUPT_CONTROLLER):
            place = address - self.ip_dict[cell]["phys_addr"]
            if 0 <= place < self.ip_dict[cell]["addr_range"]:
                return cell, place
        raise BusError(f"nothing answers at 0x{address:X}", fix="Use the addresses of the overlay's ip_dict",
                       address=address)


class _Handoff(RemoteBitstreamHandler):
    """Reads the .hwh beside a bitstream, and not the bitstream itself."""

    def get_bin_data(self) -> bytes:
        return b""


@contextmanager
def simulated_overlay(config: MachineConfig, *, board: SimulatedBoard | None = None, interrupt: bool = True,
                      described_as: Board = BOARDS["zcu104"], folder: Path | None = None) -> Iterator[Overlay]:
    """``pynq.Overlay`` of ``config`` on a simulated board, which is pynq's active device until the end of the block.

    Parameters
    ----------
    board : it stays open; left out, a new one
    interrupt : whether Linux passes the machine's interrupt on; without it pynq warns, and drivers poll
    described_as : the board that the .hwh describes
    folder : gets moevit.bit, a placeholder, and moevit.hwh; left out, a temporary one
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moevit-")))
        (folder / "moevit.bit").write_bytes(_PLACEHOLDER)
        (folder / "moevit.hwh").write_text(handoff(described_as, config))
        device = SimulatedPynqDevice(board or stack.enter_context(SimulatedBoard(config, trace=False)))
        stack.enter_context(_active(device, interrupt))
        yield Overlay(str(folder / "moevit.bit"), download=False, device=device)


@contextmanager
def _active(device: SimulatedPynqDevice, interrupt: bool) -> Iterator[None]:
    """Make pynq use ``device``, and restore pynq at the end of the block."""
    active, clocks = vars(Device).get("_active_device"), Clocks.device
    uio, controllers = _InterruptController._uio_devices, _InterruptController._controllers
    passes = _Uio(device)
    Device.active_device = device
    _InterruptController._uio_devices = {line: passes for line in _LINES if interrupt}
    _InterruptController._controllers = []
    try:
        yield
    finally:
        passes.close()
        _InterruptController._uio_devices, _InterruptController._controllers = uio, controllers
        Clocks.device = clocks
        del Device._active_device
        if active is not None:
            Device.active_device = active
