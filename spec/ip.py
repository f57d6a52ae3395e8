# SPDX-License-Identifier: Apache-2.0
"""The machine as an IP core: the name by which Vivado packages it and PYNQ finds it, and the access of its registers.
"""

from xml.etree.ElementTree import Element

from .registers import BITS, VERSION, Register

__all__ = ["ACCESS", "CELL", "CLOCK_PARAMETER", "CLOCK_PARAMETER_7SERIES", "CLOCK_TOLERANCE", "CONTROL_BASE",
           "CONTROL_BASE_7SERIES", "VLNV", "fields", "handoff_clock"]

#: vendor:library:name:version. The version is major and minor of the hardware's, which the host checks too.
VLNV = f"moevit:accel:moevit:{VERSION >> 24}.{VERSION >> 16 & 0xFF}"
#: Its cell in the block design, and so its name in an overlay.
CELL = "moevit_0"
#: Where its registers lie in the processor's address space.
CONTROL_BASE = 0xA000_0000
CONTROL_BASE_7SERIES = 0x4000_0000

#: The processor's parameter with the clock that its dividers reach, in MHz: the machine's clock.
CLOCK_PARAMETER = "PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ"
CLOCK_PARAMETER_7SERIES = "PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ"
#: A clock may be as much above that of the timing closure; both are printed with few digits.
CLOCK_TOLERANCE = 1.001

#: A register's access as IP-XACT and the hardware handoff call it, by ``Register.access``.
ACCESS = {"r": "read-only", "rw": "read-write", "w1c": "read-write", "w1s": "read-write"}
_COMMANDS = ("START", "RESET")  # bits of CONTROL; the others are status


def fields(register: Register) -> list[tuple[str, int, str]]:
    """Name, bit and access of each one-bit field of ``register``; only CONTROL has any."""
    if register.name != "CONTROL":
        return []
    return [(name, bit, ACCESS["rw" if name in _COMMANDS else "r"]) for name, bit in BITS.items()]


def handoff_clock(handoff: Element) -> float | None:
    """The machine's clock in MHz that a hardware handoff (.hwh) makes the host set; None if it says none."""
    for each in handoff.iter("PARAMETER"):
        if each.get("NAME") in (CLOCK_PARAMETER, CLOCK_PARAMETER_7SERIES):
            try:
                return float(each.get("VALUE", ""))
            except ValueError:
                return None
    return None
