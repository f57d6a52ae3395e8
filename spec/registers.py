# SPDX-License-Identifier: Apache-2.0
"""The AXI4-Lite register map. RTL, host, docs and the IP's memory map are made from it.

Reads have no side effects. An address in the aperture without a register reads 0 and ignores writes, with response
OKAY: on Zynq an error response would be a bus error of the processor.
"""

from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "APERTURE",
    "BITS",
    "COUNTERS",
    "MAGIC",
    "PASS_LOG",
    "PASS_LOG_ENTRIES",
    "PASS_LOG_FIELDS",
    "REGISTERS",
    "VERSION",
    "ErrorCode",
    "Register",
    "offset",
    "pack_log",
    "unpack_log",
]

APERTURE = 0x4000
MAGIC = int.from_bytes(b"MOEV", "little")
VERSION = 0x00_02_00_00  # major, minor, patch, 0


class Register(NamedTuple):
    """A 32-bit register. ``access``: r (the hardware writes it), rw (the host writes it), w1c (the hardware sets bits,
    the host clears them), w1s (the host gives commands)."""

    name: str
    offset: int
    access: str
    doc: str


#: Bits of CONTROL, by name. START and RESET are commands; the others read as status.
BITS = {"START": 0, "DONE": 1, "IDLE": 2, "READY": 3, "RESET": 5, "RESET_DONE": 6, "ERROR": 7, "INTERRUPT": 9}

#: 64-bit counters of the run. START clears them; they are steady when the machine is idle. BUSY or one of the WAIT
#: counters counts each cycle of a run, by what the row reader does in it. Their order here is their precedence.
COUNTERS = (
    ("CYCLES", "clock cycles from START to DONE"),
    ("MACS", "array cycles that took a row, times k_lanes x n_lanes"),
    ("BYTES_READ", "bytes received from the memory bus"),
    ("BYTES_WRITTEN", "bytes sent to the memory bus"),
    ("SATURATED", "values clipped by the row writer"),
    ("BUSY", "cycles in which a row entered the array"),
    ("WAIT_NORM", "cycles in which the reader took statistics"),
    ("WAIT_WEIGHTS", "cycles in which rows waited for a tile"),
    ("WAIT_DRAIN", "cycles in which rows waited for earlier instructions to store them"),
    ("WAIT_WRITER", "cycles in which rows waited for room in front of the row writer"),
    ("WAIT_PROGRAM", "cycles in which the reader had no instruction (program load, router, image, output)"),
)

_WIDE = (
    ("PROGRAM", 0x40, "address of the program"),
    ("WEIGHTS", 0x50, "address of the weights"),
    ("GATES", 0x58, "address of the task's gates: the only register that a task switch writes"),
    ("IMAGE", 0x60, "address of the image"),
    ("OUTPUT", 0x68, "address of the output tokens"),
    ("READ_BASE", 0x70, "first address that may be read"),
    ("READ_LIMIT", 0x78, "first address after those that may be read"),
    ("WRITE_BASE", 0x80, "first address that may be written"),
    ("WRITE_LIMIT", 0x88, "first address after those that may be written"),
)


def _wide(name: str, at: int, access: str, doc: str) -> tuple[Register, Register]:
    return (Register(f"{name}_LOW", at, access, f"{doc}, bits 31..0"),
            Register(f"{name}_HIGH", at + 4, access, f"{doc}, bits 63..32"))


REGISTERS: tuple[Register, ...] = (
    Register("CONTROL", 0x00, "w1s", "START 0, DONE 1, IDLE 2, READY 3, RESET 5, RESET_DONE 6, ERROR 7, INTERRUPT 9"),
    Register("INTERRUPT_GLOBAL", 0x04, "rw", "bit 0 enables the interrupt output"),
    Register("INTERRUPT_ENABLE", 0x08, "rw", "bit 0 done, bit 1 error"),
    Register("INTERRUPT_STATUS", 0x0C, "w1c", "bit 0 done, bit 1 error"),
    Register("MAGIC", 0x20, "r", "'MOEV'"),
    Register("VERSION", 0x24, "r", "major, minor, patch, 0"),
    Register("CONFIG_HASH", 0x2C, "r", "MachineConfig.hash of this hardware"),
    Register("SHAPE", 0x30, "r", "k_lanes 7..0, n_lanes 15..8, max_experts 23..16"),
    Register("TOKENS", 0x34, "r", "max_tokens"),
    *_wide(*_WIDE[0][:2], "rw", _WIDE[0][2]),
    Register("PROGRAM_LENGTH", 0x48, "rw", "instructions in the program"),
    *(register for name, at, doc in _WIDE[1:] for register in _wide(name, at, "rw", doc)),
    Register("ERROR_CODE", 0x90, "r", "ErrorCode of the first error of the run"),
    Register("ERROR_PC", 0x94, "r", "instruction at the first error"),
    *_wide("ERROR_ADDRESS", 0x98, "r", "bus address at the first error"),
    Register("WATCHDOG", 0xA0, "rw", "cycles without progress after which a run is stopped; 0 is never"),
    Register("PC", 0xA4, "r", "instruction last started"),
    Register("FINISHED", 0xA8, "r", "instructions finished, repeated ones counted each time"),
    Register("STOP_AFTER", 0xAC, "rw", "end the run after this many started instructions; 0 is never (debugging)"),
    *(register for index, (name, doc) in enumerate(COUNTERS) for register in _wide(name, 0x100 + 8 * index, "r", doc)),
)

#: A read-only window. Entry i has two words for the i-th finished instruction of the run: the cycle of its end, and the
#: fields `PASS_LOG_FIELDS`.
PASS_LOG = 0x2000
PASS_LOG_ENTRIES = 1024
#: Bits of each field, the lowest first. A program has fewer instructions than ``pc`` has values.
PASS_LOG_FIELDS = {"rows": 12, "expert": 7, "pc": 13}

_OFFSETS = {register.name: register.offset for register in REGISTERS}


def pack_log(**fields: int) -> int:
    """Second word of an entry of the pass log."""
    word, lsb = 0, 0
    for name, bits in PASS_LOG_FIELDS.items():
        word |= fields[name] << lsb
        lsb += bits
    return word


def unpack_log(word: int) -> dict[str, int]:
    """Fields of the second word of an entry of the pass log."""
    fields = {}
    for name, bits in PASS_LOG_FIELDS.items():
        fields[name], word = word & (1 << bits) - 1, word >> bits
    return fields


def offset(name: str) -> int:
    """Byte offset of the register called ``name``."""
    return _OFFSETS[name]


class ErrorCode(IntEnum):
    """Why a run stopped. The first error of a run stays in ERROR_CODE until the next START or RESET."""

    NONE = 0
    ILLEGAL_OPCODE = 1  #: opcode unknown, or a field set that the opcode does not have
    PROGRAM_RANGE = 2  #: the program ran past PROGRAM_LENGTH without END, or is longer than the program memory
    READ_WINDOW = 3  #: an address outside READ_BASE..READ_LIMIT
    WRITE_WINDOW = 4  #: an address outside WRITE_BASE..WRITE_LIMIT
    ALIGNMENT = 5  #: an address that is not a multiple of the bus width
    OPERAND = 6  #: an instruction's field out of range for this hardware
    READ_SLAVE = 7  #: SLVERR on a read
    READ_DECODE = 8  #: DECERR on a read
    READ_PROTOCOL = 9  #: RLAST early or missing
    WRITE_SLAVE = 10  #: SLVERR on a write
    WRITE_DECODE = 11  #: DECERR on a write
    WATCHDOG = 12  #: no progress for WATCHDOG cycles
