# SPDX-License-Identifier: Apache-2.0
"""Checks of the files of a build: the .bit is whole and for the part, the .hwh has the machine."""

import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from moevit.spec.ip import CELL, CLOCK_TOLERANCE, VLNV, handoff_clock
from moevit.spec.registers import REGISTERS

from .exits import ExitCode, VivadoError

__all__ = ["check_bit", "check_hwh"]


def _damaged(path: Path, what: str) -> VivadoError:
    return VivadoError(ExitCode.NO_ARTEFACT, f"{path} {what}", "Nothing was published; see the logs in work/")


def check_bit(path: Path, part: str) -> None:
    """Raises VivadoError unless the .bit file is for ``part`` and as long as its header says."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, "is missing, though Vivado reported success") from error
    try:
        # Length and bytes of a fixed field, a word 1; then fields: a letter, length and text; last 'e' and the data.
        position = 2 + struct.unpack_from(">H", content)[0] + 2
        fields = {}
        while (letter := content[position:position + 1]) in (b"a", b"b", b"c", b"d"):
            length, = struct.unpack_from(">H", content, position + 1)
            fields[letter] = content[position + 3:position + 3 + length].rstrip(b"\0").decode("ascii")
            position += 3 + length
        size, = struct.unpack_from(">I", content, position + 1)
        built = fields[b"b"]
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise _damaged(path, "is no bitstream: its header cannot be read") from error
    if letter != b"e" or size == 0 or position + 5 + size != len(content):
        raise _damaged(path, f"is cut off: {len(content):,} bytes, its header announces {position + 5 + size:,}")
    device = built.removeprefix("xc")
    if not device or not part.removeprefix("xc").startswith(device):  # headers of Zynq-7000 leave out grade and xc
        raise _damaged(path, f"is for {built}, not for {part}")


def check_hwh(path: Path, clock_mhz: float) -> None:
    """Raises VivadoError unless the hardware handoff has the machine's cell with all its registers, and a clock that is
    not faster than ``clock_mhz``, at which timing was checked."""
    try:
        root = ElementTree.parse(path).getroot()
        modules = root.iter("MODULE")
        ours = [module for module in modules if module.get("VLNV") == VLNV and module.get("INSTANCE") == CELL]
    except OSError as error:
        raise _damaged(path, "is missing, though Vivado reported success") from error
    except ElementTree.ParseError as error:
        raise _damaged(path, f"is no XML: {error}") from error
    if len(ours) != 1:
        raise _damaged(path, f"has {len(ours)} cells {CELL} of {VLNV}, which the driver is bound to")
    names = {register.get("NAME") for register in ours[0].iter("REGISTER")}
    if missing := {register.name for register in REGISTERS} - names:
        raise _damaged(path, f"lacks registers: {', '.join(sorted(missing))}")
    clock = handoff_clock(root)
    if clock is None or clock > CLOCK_TOLERANCE * clock_mhz:
        said = "no clock" if clock is None else f"a clock of {clock:g} MHz"
        raise _damaged(path, f"has {said}, timing was checked at {clock_mhz:g} MHz")
