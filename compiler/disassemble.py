# SPDX-License-Identifier: Apache-2.0
"""The program of a bundle as text."""

from enum import IntEnum

import numpy as np

from moevit.spec.bundle import Bundle
from moevit.spec.isa import Destination, Opcode, Operand, Peak, Region, RowSource, Saturation, WeightSource, decode

__all__ = ["disassemble"]

_ENUMS: dict[str, type[IntEnum]] = {
    "destination": Destination, "operand": Operand, "peak": Peak, "saturation": Saturation, "source": RowSource,
    "region": Region, "weights": WeightSource,
}


def disassemble(bundle: Bundle) -> str:
    """One line per instruction: number, opcode, name, and every field that is not zero."""
    lines = []
    entries = bundle.manifest["instructions"]
    for pc, words in enumerate(np.frombuffer(bundle.program, "<u4").reshape(-1, 16)):
        fields = decode(words)
        opcode = Opcode(fields.pop("opcode"))
        shown = [f"{name}={_ENUMS[name](value).name.lower() if name in _ENUMS else value}"
                 for name, value in fields.items() if value or (opcode == Opcode.PASS and name in _ENUMS)]
        lines.append(f"{pc:4d}  {opcode.name:<8}{entries[pc]['name']:<28}{' '.join(shown)}".rstrip())
    return "\n".join(lines)
