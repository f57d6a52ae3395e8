# SPDX-License-Identifier: Apache-2.0
"""The runtime: load a bundle, run images for a task, read back tokens and what they cost."""

from pathlib import Path
from typing import Any

import numpy as np

from moevit.spec.bundle import Bundle
from moevit.spec.isa import Opcode, decode
from moevit.spec.registers import BITS, COUNTERS, MAGIC, PASS_LOG, PASS_LOG_ENTRIES, VERSION, ErrorCode, offset

from .device import Buffer, Device
from .errors import (
    AcceleratorTimeout,
    AccelError,
    BundleMismatch,
    BusError,
    Busy,
    NoMachine,
    OutOfContiguousMemory,
    ProgramRefused,
    VersionMismatch,
    WrongInput,
)
from .report import PassReport, RunReport

__all__ = ["Accelerator"]

WATCHDOG_CYCLES = 200_000  # a machine without any progress for so long is stuck, whatever the memory does
_TIMEOUTS = {ErrorCode.WATCHDOG}
_BUS = {ErrorCode.READ_WINDOW, ErrorCode.WRITE_WINDOW, ErrorCode.ALIGNMENT, ErrorCode.READ_SLAVE, ErrorCode.READ_DECODE,
        ErrorCode.READ_PROTOCOL, ErrorCode.WRITE_SLAVE, ErrorCode.WRITE_DECODE}


class Accelerator:
    """A machine with a network loaded.

    >>> accelerator = Accelerator(device)
    >>> accelerator.load("demo.bundle")
    >>> tokens = accelerator.run(image, task="depth")

    Raises NoMachine or VersionMismatch if the device is not this machine.
    """

    def __init__(self, device: Device):
        self.device = device
        self.last_run: RunReport | None = None
        self._bundle: Bundle | None = None
        self._buffers: dict[str, Buffer] = {}
        magic = self._read("MAGIC")
        if magic != MAGIC:
            raise NoMachine(f"MAGIC reads 0x{magic:08X}, not 0x{MAGIC:08X}", magic=magic,
                            fix="Load the bitstream, and check the base address and the clock")
        version = self._read("VERSION")
        if version >> 16 != VERSION >> 16:
            raise VersionMismatch(f"hardware version 0x{version:08X}, software 0x{VERSION:08X}", version=version,
                                  fix="Use the bitstream and the package of one release")

    def __enter__(self) -> "Accelerator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all shared memory back."""
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers, self._bundle = {}, None

    @property
    def bundle(self) -> Bundle:
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

    def load(self, bundle: Bundle | str | Path) -> None:
        """Put a bundle into shared memory, in place of what was loaded.

        A bundle that cannot be read or is for another machine changes nothing; after any later error nothing is
        loaded or allocated. Raises BundleError, BundleMismatch, OutOfContiguousMemory.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.load(Path(bundle))
        here, wanted = self._read("CONFIG_HASH"), bundle.manifest["config_hash"]
        if here != wanted:
            raise BundleMismatch(
                f"the bundle is for configuration {bundle.manifest['config']} (0x{wanted:08X}), "
                f"this machine is 0x{here:08X}", fix="Compile the model for this machine's configuration")
        self.close()
        image, out = bundle.manifest["image"], bundle.manifest["output"]
        batch = bundle.manifest["batch"]
        sizes = {"program": len(bundle.program), "weights": len(bundle.weights), "gates": len(bundle.gates),
                 "image": 3 * batch * image["height"] * image["width"],
                 "output": 2 * batch * out["tokens"] * out["words"] * out["lanes"]}
        try:
            for name, size in sizes.items():
                self._buffers[name] = self.device.allocate(max(size, 64))
            for name, content in (("program", bundle.program), ("weights", bundle.weights), ("gates", bundle.gates)):
                self._buffers[name].array[:len(content)] = np.frombuffer(content, np.uint8)
                self._buffers[name].flush()
            self._bundle = bundle
            self._point()
        except MemoryError as error:
            self.close()
            raise OutOfContiguousMemory(f"{sum(sizes.values())} bytes of shared memory: {error}", **sizes,
                                        fix="Free other buffers, or raise the CMA size of the board") from error
        except BaseException:
            self.close()
            raise

    def _point(self) -> None:
        """Tell the machine where everything lies, and what it may touch."""
        for name in ("program", "weights", "image", "output"):
            self._write_wide(name.upper(), self._buffers[name].address)
        self._write("PROGRAM_LENGTH", self.bundle.program_length)
        read = [self._buffers[name] for name in ("program", "weights", "gates", "image")]
        output = self._buffers["output"]
        self._write_wide("READ_BASE", min(buffer.address for buffer in read))
        self._write_wide("READ_LIMIT", max(buffer.address + len(buffer.array) for buffer in read))
        self._write_wide("WRITE_BASE", output.address)
        self._write_wide("WRITE_LIMIT", output.address + len(output.array))
        self._write("WATCHDOG", WATCHDOG_CYCLES)
        self._write("INTERRUPT_ENABLE", 3)
        self._write("INTERRUPT_GLOBAL", 1)

    def run(self, images: np.ndarray, task: str, timeout: float = 60.0) -> np.ndarray:
        """Tokens (batch, tokens, dim) float32 of images (batch, height, width, 3) u8 for ``task``.

        ``batch`` is the bundle's; if it is 1 the axis may be left out, of the image and so of the tokens.
        ``timeout`` in seconds. Raises WrongInput, Busy, AcceleratorTimeout, BusError, ProgramRefused.
        """
        fraction = self.bundle.manifest["output"]["fraction"]
        return self.run_raw(images, task, timeout).astype(np.float32) / (1 << fraction)

    def run_raw(self, images: np.ndarray, task: str, timeout: float = 60.0) -> np.ndarray:
        """As ``run``, but the integers that the machine wrote: s16, value x 2^fraction."""
        self._check_images(images)
        if task not in self.tasks:
            raise WrongInput(f"no task is called {task!r}", fix=f"The tasks are {', '.join(self.tasks)}")
        if not self._read("CONTROL") >> BITS["IDLE"] & 1:
            raise Busy("a run is under way", fix="Wait for it, or reset()")
        self._buffers["image"].array[:images.size] = np.ascontiguousarray(images).reshape(-1)
        self._buffers["image"].flush()
        self.select(task)
        self._write("INTERRUPT_STATUS", 3)
        self._write("CONTROL", 1 << BITS["START"])
        try:
            self.device.wait(timeout)
        except TimeoutError as error:
            raise AcceleratorTimeout(f"no end after {timeout} s", fix="reset(), then run again",
                                     **self._state()) from error
        self._check()
        self.last_run = self._report(task)
        output, out = self._buffers["output"], self.bundle.manifest["output"]
        output.invalidate()
        size = 2 * self.bundle.manifest["batch"] * out["tokens"] * out["words"] * out["lanes"]
        rows = output.array[:size].view("<i2").reshape(*images.shape[:-3], out["tokens"], -1)
        return rows[..., :out["dim"]].copy()

    def _check_images(self, images: Any) -> None:
        """Raises WrongInput."""
        batch, size = self.bundle.manifest["batch"], self.bundle.manifest["image"]
        shape = (size["height"], size["width"], 3)
        wanted = f"uint8{list(shape)}" if batch == 1 else f"uint8{[batch, *shape]}"
        if not isinstance(images, np.ndarray):
            raise WrongInput(f"the image is a {type(images).__name__}, the network takes an array {wanted}")
        if images.shape[-3:] != shape or images.ndim > 4 or images.dtype != np.uint8:
            raise WrongInput(f"the image is {images.dtype}{list(images.shape)}, the network takes {wanted}")
        given = len(images) if images.ndim == 4 else 1
        if given != batch:
            raise WrongInput(f"{given} image{'s' * (given != 1)}, the bundle was compiled for a batch of {batch}",
                             fix=f"Run {wanted}, or compile with --batch {given}")

    def select(self, task: str) -> None:
        """Point the machine at a task's gates: the only difference between tasks."""
        gates = self._buffers["gates"].address + self.tasks.index(task) * self.bundle.manifest["gate_stride"]
        self._write_wide("GATES", gates)

    def reset(self) -> None:
        """Soft reset: the machine lets its bursts end, forgets the run, and is idle. Raises AcceleratorTimeout."""
        self._write("CONTROL", 1 << BITS["RESET"])
        for _ in range(1000):
            if self._read("CONTROL") >> BITS["RESET_DONE"] & 1:
                return
        raise AcceleratorTimeout("soft reset does not end", fix="Reload the bitstream", **self._state())

    def _check(self) -> None:
        code = ErrorCode(self._read("ERROR_CODE"))
        if code == ErrorCode.NONE:
            return
        state = self._state()
        entries = self.bundle.manifest["instructions"]
        name = entries[state["pc"]]["name"] if state["pc"] < len(entries) else "past the program"
        where = f"{code.name} at instruction {state['pc']} ({name}), address 0x{state['address']:X}"
        if code in _TIMEOUTS:
            raise AcceleratorTimeout(where, fix="The memory did not answer; look at state['stalls']", **state)
        if code in _BUS:
            raise BusError(where, fix="Check the buffers; run again after reset()", **state)
        raise ProgramRefused(where, fix="Compile again for this version and configuration", **state)

    def _state(self) -> dict[str, Any]:
        counters = {name: self._read_wide(name) for name, _ in COUNTERS}
        return {"pc": self._read("ERROR_PC"), "address": self._read_wide("ERROR_ADDRESS"),
                "finished": self._read("FINISHED"), "stalls": counters}

    def _report(self, task: str) -> RunReport:
        fields = [decode(words) for words in np.frombuffer(self.bundle.program, "<u4").reshape(-1, 16)]
        entries = self.bundle.manifest["instructions"]
        beat = self.bundle.manifest["bus_bytes"]
        passes, before = [], 0
        for index in range(min(self._read("FINISHED"), PASS_LOG_ENTRIES)):
            end = self.device.read_register(PASS_LOG + 8 * index)
            info = self.device.read_register(PASS_LOG + 8 * index + 4)
            pc, expert, rows = info >> 20, info >> 12 & 0xFF, info & 0xFFF
            if "experts" in entries[pc]:
                expert = entries[pc]["experts"][expert]
            macs = entries[pc]["macs_per_row"] * rows if fields[pc]["opcode"] == Opcode.PASS else 0
            passes.append(PassReport(entries[pc]["name"], expert, rows, end, end - before, macs,
                                     fields[pc].get("stream_beats", 0) * beat))
            before = end
        return RunReport(task, {name: self._read_wide(name) for name, _ in COUNTERS}, tuple(passes))

    def _read(self, name: str) -> int:
        return self.device.read_register(offset(name))

    def _read_wide(self, name: str) -> int:
        return self._read(f"{name}_LOW") | self._read(f"{name}_HIGH") << 32

    def _write(self, name: str, value: int) -> None:
        self.device.write_register(offset(name), value)

    def _write_wide(self, name: str, value: int) -> None:
        self._write(f"{name}_LOW", value & 0xFFFF_FFFF)
        self._write(f"{name}_HIGH", value >> 32)
