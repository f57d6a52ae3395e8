# SPDX-License-Identifier: Apache-2.0
"""The machine as an IP core: the name by which Vivado packages it and PYNQ finds it, and the access of its registers.
"""

from .registers import BITS, VERSION, Register

__all__ = ["ACCESS", "CELL", "CONTROL_BASE", "CONTROL_BASE_7SERIES", "VLNV", "fields"]

#: vendor:library:name:version. The version is major and minor of the hardware's, which the host checks too.
VLNV = f"moevit:accel:moevit:{VERSION >> 24}.{VERSION >> 16 & 0xFF}"
#: Its cell in the block design, and so its name in an overlay.
CELL = "moevit_0"
#: Where its registers lie in the processor's address space.
CONTROL_BASE = 0xA000_0000
CONTROL_BASE_7SERIES = 0x4000_0000

#: A register's access as IP-XACT and the hardware handoff call it, by ``Register.access``.
ACCESS = {"r": "read-only", "rw": "read-write", "w1c": "read-write", "w1s": "read-write"}
_COMMANDS = ("START", "RESET")  # bits of CONTROL; the others are status


def fields(register: Register) -> list[tuple[str, int, str]]:
    """Name, bit and access of each one-bit field of ``register``; only CONTROL has any."""
    if register.name != "CONTROL":
        return []
    return [(name, bit, ACCESS["rw" if name in _COMMANDS else "r"]) for name, bit in BITS.items()]
