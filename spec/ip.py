# SPDX-License-Identifier: Apache-2.0
"""The machine as an IP core: the name that Vivado packages it under and PYNQ finds it by."""

from .registers import VERSION

__all__ = ["CELL", "CONTROL_BASE", "CONTROL_BASE_7SERIES", "VLNV"]

#: vendor:library:name:version; major and minor of the hardware, which is what the host checks too.
VLNV = f"moevit:accel:moevit:{VERSION >> 24}.{VERSION >> 16 & 0xFF}"
#: Its cell in the block design, and so its name in an overlay.
CELL = "moevit_0"
#: Where its registers lie in the processor's address space.
CONTROL_BASE = 0xA000_0000
CONTROL_BASE_7SERIES = 0x4000_0000
