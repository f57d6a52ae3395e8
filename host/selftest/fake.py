# SPDX-License-Identifier: Apache-2.0
"""A machine of registers alone, and a bundle for it, to test the runtime without a board."""

import numpy as np

from moevit.spec.bundle import Bundle
from moevit.spec.isa import Opcode, encode
from moevit.spec.registers import BITS, MAGIC, VERSION, offset

__all__ = ["FakeBuffer", "FakeDevice", "fake_bundle"]

_HASH = 0x5E1F
_BASE = 0x8_0000_0000


class FakeBuffer:
    """Ordinary memory under an address of more than 32 bits."""

    def __init__(self, address: int, size: int):
        self.address, self.array = address, np.zeros(size, np.uint8)

    def flush(self) -> None:
        """The fake machine reads nothing."""

    def invalidate(self) -> None:
        """The fake machine writes into ``array`` itself."""

    def free(self) -> None:
        self.array = self.array[:0]


class FakeDevice:
    """A run ends at once; the n-th writes bytes of n as its output. ``writes``: offsets, in order."""

    clock_hz = 1e8
    interrupts = False

    def __init__(self) -> None:
        self.writes: list[int] = []
        self.runs = 0
        self.buffers: list[FakeBuffer] = []
        self.registers = {offset("MAGIC"): MAGIC, offset("VERSION"): VERSION, offset("CONFIG_HASH"): _HASH,
                          offset("CONTROL"): 1 << BITS["IDLE"]}

    def read_register(self, at: int) -> int:
        return self.registers.get(at, 0)

    def write_register(self, at: int, value: int) -> None:
        self.writes.append(at)
        if at != offset("CONTROL"):
            self.registers[at] = value
            return
        ended = "RESET_DONE" if value >> BITS["RESET"] & 1 else "DONE"
        self.registers[at] = 1 << BITS["IDLE"] | 1 << BITS[ended]
        if ended == "DONE":
            self.runs += 1
            output = self.registers[offset("OUTPUT_LOW")] | self.registers[offset("OUTPUT_HIGH")] << 32
            start = output - self.buffers[-1].address
            self.buffers[-1].array[start:start + 16] = self.runs

    def allocate(self, size: int) -> FakeBuffer:
        self.buffers.append(FakeBuffer(_BASE + (len(self.buffers) << 20), size))
        return self.buffers[-1]

    def free_bytes(self) -> int | None:
        return None

    def wait(self, timeout: float) -> None:
        """A run is over when START returns."""

    def close(self) -> None:
        """Nothing is held."""


def fake_bundle() -> Bundle:
    """Two tasks, an image of 8 x 8, one token of 8 values."""
    manifest = {
        "network": {"name": "fake"}, "config": "fake", "config_hash": _HASH, "bus_bytes": 16, "batch": 1,
        "deadline_cycles": 1000, "tasks": ["one", "two"], "gate_stride": 4096,
        "image": {"height": 8, "width": 8, "patch": 8, "cell": 8},
        "output": {"tokens": 1, "words": 1, "lanes": 8, "dim": 8, "fraction": 0}, "host": {},
        "instructions": [{"name": "end", "opcode": "END", "part": "end", "block": None, "macs_per_row": 0}],
    }
    return Bundle(manifest, encode(opcode=Opcode.END).astype("<u4").tobytes(), bytes(64), bytes(8192))
