# SPDX-License-Identifier: Apache-2.0
"""C headers for a driver of one's own: registers and instructions from ``spec``, and a network from its bundle."""

import re
from collections.abc import Iterable
from enum import IntEnum

from moevit.spec.arrays import MachineConfig
from moevit.spec.bundle import Bundle
from moevit.spec.isa import (
    FIELDS,
    INSTRUCTION_BYTES,
    Activation,
    Destination,
    Opcode,
    Operand,
    Peak,
    Region,
    RowSource,
    Saturation,
    WeightSource,
)
from moevit.spec.registers import (
    APERTURE,
    BITS,
    MAGIC,
    PASS_LOG,
    PASS_LOG_ENTRIES,
    PASS_LOG_FIELDS,
    REGISTERS,
    VERSION,
    ErrorCode,
)

__all__ = ["machine_header", "network_header"]

_ENUMS: tuple[type[IntEnum], ...] = (Opcode, Region, RowSource, Operand, WeightSource, Destination, Activation,
                                     Saturation, Peak)


def machine_header(config: MachineConfig) -> str:
    """``moevit.h``: offsets, bits, error codes, pass log, and the layout of instructions; identity of ``config``."""
    parts = [
        _section("Identity: what MAGIC, VERSION and CONFIG_HASH must read", [
            _define("MAGIC", MAGIC, "'MOEV'"), _define("VERSION", VERSION, "major, minor, patch, 0"),
            _define("CONFIG_HASH", config.hash, f"configuration {config.name}"), _define("APERTURE", APERTURE, "bytes"),
            _define("BUS_BYTES", config.bus_bytes, "alignment of every address")]),
        _section("Registers: byte offsets. r: read; rw: read and write; w1c: 1 clears; w1s: 1 commands", [
            _define(f"REG_{register.name}", register.offset, f"{register.access}: {register.doc}")
            for register in REGISTERS]),
        _section("Bits of CONTROL", [_define(f"CONTROL_{name}", 1 << bit) for name, bit in BITS.items()]),
        _section("Bits of INTERRUPT_ENABLE and INTERRUPT_STATUS", [
            _define("INTERRUPT_DONE", 1), _define("INTERRUPT_ERROR", 2)]),
        _section("Pass log: entry i is two words at PASS_LOG + 8 i, the cycle of its end and the fields", [
            _define("PASS_LOG", PASS_LOG), _define("PASS_LOG_ENTRIES", PASS_LOG_ENTRIES), *_pass_log()]),
        _enum("error", ErrorCode),
        _section(f"Instructions: {INSTRUCTION_BYTES} bytes, little endian; a field is `width` bits of a 32-bit word", [
            _define("INSTRUCTION_BYTES", INSTRUCTION_BYTES), *_fields()]),
        *(_enum(re.sub(r"(?<!^)(?=[A-Z])", "_", each.__name__).lower(), each) for each in _ENUMS),
    ]
    return _file("MOEVIT_H", f"The registers and instructions of moevit, configuration {config.name}.", parts)


def network_header(bundle: Bundle) -> str:
    """``moevit_network.h``: what a driver must know of a network; the bytes are in the files beside it."""
    manifest = bundle.manifest
    image, output = manifest["image"], manifest["output"]
    values = [
        _define("NETWORK_CONFIG_HASH", manifest["config_hash"], f"it runs on configuration {manifest['config']}"),
        _define("PROGRAM_INSTRUCTIONS", bundle.program_length), _define("PROGRAM_BYTES", len(bundle.program)),
        _define("WEIGHTS_BYTES", len(bundle.weights)), _define("GATES_BYTES", len(bundle.gates)),
        _define("GATE_STRIDE", manifest["gate_stride"], "bytes from a task's gates to the next one's"),
        _define("BATCH", manifest["batch"], "images of a run"), _define("IMAGE_HEIGHT", image["height"]),
        _define("IMAGE_WIDTH", image["width"]), _define("OUTPUT_TOKENS", output["tokens"], "of an image"),
        _define("OUTPUT_CHANNELS", output["dim"], "of a token, s16"),
        _define("OUTPUT_STRIDE", 2 * output["words"] * output["lanes"], "bytes from token to token"),
        _define("OUTPUT_FRACTION", output["fraction"], "a value is an integer x 2^-OUTPUT_FRACTION"),
        _define("DEADLINE_CYCLES", manifest["deadline_cycles"], "a run that takes longer is stuck"),
        *(_define(f"TASK_{re.sub('[^A-Za-z0-9]', '_', task).upper()}", index)
          for index, task in enumerate(bundle.tasks)),
    ]
    return _file("MOEVIT_NETWORK_H", "A network, compiled for one configuration.", [_section("Network", values)])


def _define(name: str, value: int, doc: str = "") -> str:
    written = f"0x{value:X}u" if value > 9 else f"{value}u"
    return f"#define MOEVIT_{name} {written}" + (f"  /* {doc.replace('*/', '* /')} */" if doc else "")


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"/* {title} */", *lines, ""])


def _enum(name: str, kind: type[IntEnum]) -> str:
    prefix = f"MOEVIT_{name.upper()}_"
    members = [f"    {prefix}{member.name} = {member.value}," for member in kind]
    return "\n".join([f"enum moevit_{name} {{", *members, "};", ""])


def _pass_log() -> list[str]:
    lines, lsb = [], 0
    for name, bits in PASS_LOG_FIELDS.items():
        lines += [_define(f"PASS_LOG_{name.upper()}_LSB", lsb), _define(f"PASS_LOG_{name.upper()}_WIDTH", bits)]
        lsb += bits
    return lines


def _fields() -> list[str]:
    lines = []
    for field in FIELDS:
        name = f"FIELD_{field.name.upper()}"
        lines += [_define(f"{name}_WORD", field.word, field.doc), _define(f"{name}_LSB", field.lsb),
                  _define(f"{name}_WIDTH", field.width)]
    return lines


def _file(guard: str, title: str, parts: list[str]) -> str:
    return "\n".join(["/* SPDX-License-Identifier: Apache-2.0 */", f"/* {title} Generated; do not edit. */",
                      f"#ifndef {guard}", f"#define {guard}", "", *parts, f"#endif  /* {guard} */", ""])
