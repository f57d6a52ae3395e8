# SPDX-License-Identifier: Apache-2.0
"""Registers of a machine by name, and a shadow of the settings: a setting that has its value costs no write."""

from moevit.spec.registers import BITS, COUNTERS, offset

from .device import Device

__all__ = ["RegisterFile"]

_HALF = 0xFFFF_FFFF


class RegisterFile:
    """The registers of ``device``; names and offsets are those of ``moevit.spec.registers``."""

    def __init__(self, device: Device):
        self._device = device
        self._shadow: dict[str, int] = {}

    def read(self, name: str) -> int:
        """A 32-bit register."""
        return self._device.read_register(offset(name))

    def read_wide(self, name: str) -> int:
        """A 64-bit register. Its halves agree while the machine is idle."""
        return self.read(f"{name}_LOW") | self.read(f"{name}_HIGH") << 32

    def status(self, bit: str) -> bool:
        """A bit of CONTROL."""
        return bool(self.read("CONTROL") >> BITS[bit] & 1)

    def counters(self) -> dict[str, int]:
        """The 64-bit counters of the run, by name."""
        return {name: self.read_wide(name) for name, _ in COUNTERS}

    def write(self, name: str, value: int) -> None:
        """Write a 32-bit register, past the shadow."""
        self._device.write_register(offset(name), value)

    def command(self, bit: str) -> None:
        """Give a command: START or RESET."""
        self.write("CONTROL", 1 << BITS[bit])

    def set(self, name: str, value: int) -> None:
        """Make a setting hold ``value``: one write, or none if it has it."""
        if self._shadow.get(name) != value:
            self.write(name, value)
            self._shadow[name] = value

    def set_wide(self, name: str, value: int) -> None:
        """Make a 64-bit setting hold ``value``: one write for each half that differs."""
        self.set(f"{name}_LOW", value & _HALF)
        self.set(f"{name}_HIGH", value >> 32)

    def forget(self) -> None:
        """Clear the shadow: another process or a new bitstream may have changed the settings."""
        self._shadow.clear()
