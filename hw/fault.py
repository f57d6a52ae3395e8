# SPDX-License-Identifier: Apache-2.0
"""How the units of the memory bus report an error."""

from amaranth.lib import data

from moevit.spec.registers import ErrorCode

__all__ = ["ADDRESS_BITS", "CODE_BITS", "fault_layout"]

#: Width of a byte address of the memory bus.
ADDRESS_BITS = 40
#: Width of an ``ErrorCode``.
CODE_BITS = max(ErrorCode).bit_length()


def fault_layout() -> data.Layout:
    """A reason to stop the run: ``spec.registers.ErrorCode`` and the bus address concerned."""
    return data.StructLayout({"code": CODE_BITS, "address": ADDRESS_BITS})
