# SPDX-License-Identifier: Apache-2.0
"""The machine's RTL in a Verilated simulation, behind the interface of a board."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from moevit.host.errors import AcceleratorTimeout
from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import BITS, offset
from moevit.spec.trace import record_dtype

from ..verilator.build import build, check_paths
from ..verilator.machine import machine_bench
from ..verilator.records import BURST
from ..verilator.settings import CLEAR, FLUSH, MemorySettings, setting_words
from ..verilator.testbench import NATIVE, TOP, Bench
from ..verilator.tools import build_root as default_root
from .memory import SimulatedBuffer, SimulatedMemory
from .process import SimulatorProcess
from .progress import WaitProgress, announced

__all__ = ["SimulatedBoard"]

_POLL_CYCLES = 50_000  # between two reads of CONTROL while no interrupt comes
_BASE = 0x1000_0000


class SimulatedBoard:
    """A ``moevit.host.device.Device`` whose machine is Verilog in a simulator process.

    The first use builds the simulation (tens of seconds for small configurations, minutes for large ones); later ones
    take it from a cache. Time passes only in register accesses, ``wait`` and ``run``. The simulator ends with
    ``close``, and also when this process dies. Threads take turns, command by command.

    Parameters
    ----------
    config : the machine, or a ``Bench`` of another design with the same ports
    memory : behaviour of the simulated DDR; assign ``memory`` to change it at any time
    memory_bytes, base : size and first address of the DDR
    trace : build with trace ports, and record what they show
    waves : VCD file to write (every cycle: short runs only)
    clock_hz : makes cycles of the seconds of ``wait``
    cycle_limit : most cycles of one ``wait``, for any number of seconds
    progress : called about four times a second during a wait, with the cycles done; left out, a status line shows them
    watch : called with each step before the simulator runs; left out, a status line shows it
    keep : folder for simulator.log, bursts.bin and trace.bin, which stays after ``close``; left out, a temporary one
    build_root : cache of builds

    Raises ToolMissing, BuildFailed, SimulationError; ValueError for a clock that stands still.
    """

    def __init__(self, config: MachineConfig | Bench, *, memory: MemorySettings | None = None,
                 memory_bytes: int = 1 << 28, base: int = _BASE, trace: bool = True, waves: Path | None = None,
                 clock_hz: float = 300e6, cycle_limit: int = 20_000_000,
                 progress: Callable[[int], None] | None = None, watch: Callable[[str], object] | None = None,
                 keep: Path | None = None, build_root: Path | None = None):
        if not clock_hz > 0:
            raise ValueError(f"clock_hz must be more than 0, not {clock_hz!r}")
        self.clock_hz, self.cycle_limit, self._progress = clock_hz, cycle_limit, progress
        check_paths(build_root or default_root())  # before the Verilog, which takes minutes
        if isinstance(config, MachineConfig):
            with announced("Generating Verilog", watch):
                design = machine_bench(config, trace=trace, root=build_root and build_root / "rtl")
            self._record = record_dtype(config.k_lanes)
        else:
            design = config
            self._record = np.dtype((np.void, max(1, design.trace_bytes)))
        with announced("Building the simulation", watch):
            simulation = build(design.files, TOP, design.public, native=NATIVE, waves=waves is not None,
                               root=build_root and build_root / "sim")
        self._temporary = keep is None
        self.directory = Path(tempfile.mkdtemp(prefix="moevit-")) if keep is None else keep.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        files = {"memory": "memory.bin", "bursts": "bursts.bin"} | ({"trace": "trace.bin"} if trace else {})
        self._files = {name: self.directory / file for name, file in files.items()}
        self._arena = SimulatedMemory(self._files["memory"], base, memory_bytes)
        try:
            self._process = SimulatorProcess(simulation, self.directory, self._files, waves and waves.resolve())
            self.memory = memory or MemorySettings()
        except BaseException:
            self._clean()
            raise

    # What every Device has.

    interrupts = True

    def read_register(self, at: int) -> int:
        return self._process.ask("read", at=at)["value"]

    def write_register(self, at: int, value: int) -> None:
        self._process.ask("write", at=at, value=value)

    def allocate(self, size: int) -> SimulatedBuffer:
        return self._arena.allocate(size)

    def free_bytes(self) -> int:
        return self._arena.free

    def wait(self, timeout: float) -> None:
        """Run the clock until the interrupt is high or CONTROL shows DONE or ERROR.

        ``timeout`` is in seconds of the machine's time (``clock_hz``), so it does not depend on the load of this
        computer. Raises AcceleratorTimeout after ``timeout``, or after ``cycle_limit``.
        """
        limit = min(self.cycle_limit, int(timeout * self.clock_hz))
        done = 0
        ended = 1 << BITS["DONE"] | 1 << BITS["ERROR"]
        with WaitProgress(self._progress) as progress:
            while True:
                answer = self._process.ask("wait", progress.since(done), cycles=min(_POLL_CYCLES, limit - done),
                                           irq=True)
                done += answer["cycles"]
                if answer["irq"] or self.read_register(offset("CONTROL")) & ended:
                    return
                if done >= limit:
                    raise AcceleratorTimeout(
                        f"the machine was not done after {done:,} cycles", cycles=done,
                        fix="Give it more time, or read PC and the WAIT counters to see what it waits for")

    def close(self) -> None:
        self._process.close()
        self._clean()

    def __enter__(self) -> "SimulatedBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What only a simulation has.

    @property
    def memory(self) -> MemorySettings:
        """Timing and faults of the DDR. An assignment takes effect at once, and takes a few cycles."""
        return self._memory

    @memory.setter
    def memory(self, settings: MemorySettings) -> None:
        self._process.ask("settings", words=setting_words(settings))
        self._memory = settings

    def reset(self, cycles: int = 16) -> None:
        """Reset machine and memory by aresetn, for ``cycles`` cycles. The bytes of the DDR stay."""
        self._process.ask("reset", cycles=cycles)

    def run(self, cycles: int) -> None:
        """Let the clock run."""
        with WaitProgress(self._progress) as progress:
            self._process.ask("wait", progress.since(0), cycles=cycles, irq=False)

    @property
    def cycles(self) -> int:
        """Clock cycles since the simulation began."""
        return self._process.ask("counters")["cycles"]

    @property
    def irq(self) -> bool:
        """The interrupt output."""
        return bool(self._process.ask("counters")["irq"])

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """Bytes read from and written to the DDR since the simulation began."""
        counters = self._process.ask("counters")
        return counters["bytes_read"], counters["bytes_written"]

    @property
    def log(self) -> Path:
        """File with the simulator's output."""
        return self._process.log

    @property
    def pid(self) -> int:
        """Process id of the simulator."""
        return self._process.pid

    def view(self, address: int, size: int) -> np.ndarray:
        """Bytes of the DDR, u8, as the machine sees them. They need no flush or invalidate."""
        return self._arena.view(address, size)

    def bursts(self) -> np.ndarray:
        """Every burst that the DDR took since ``clear_records``, as records ``moevit.sim.verilator.records.BURST``."""
        return self._records("bursts", BURST)

    def trace(self) -> np.ndarray:
        """Every trace record since ``clear_records``: ``moevit.spec.trace.record_dtype``, or bytes of a ``Bench``."""
        if "trace" not in self._files:
            raise ValueError("this board was made with trace=False")
        return self._records("trace", self._record)

    def clear_records(self) -> None:
        """Forget bursts and trace."""
        self._process.ask("settings", words={CLEAR: 0})

    def _records(self, name: str, dtype: np.dtype) -> np.ndarray:
        self._process.ask("settings", words={FLUSH: 0})
        path = self._files[name]
        return np.fromfile(path, dtype) if path.exists() else np.zeros(0, dtype)

    def _clean(self) -> None:
        self._arena.close()
        self._files["memory"].unlink(missing_ok=True)
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
