# SPDX-License-Identifier: Apache-2.0
"""All that the Tcl scripts are told: one dictionary, from board, configuration and port table."""

from enum import Enum
from typing import Any

from moevit.spec.arrays import MachineConfig
from moevit.spec.boards import Board
from moevit.spec.ip import CELL, VLNV
from moevit.spec.registers import APERTURE, BITS, REGISTERS, Register

from ..ports import PortTable
from .boards import BOARD_DATA
from .exits import ExitCode, VivadoError
from .tcl import tcl_word

__all__ = ["Preset", "constraints", "design_name", "interfaces", "settings", "settings_file"]

#: From the registers' base to the interrupt controller's, which PYNQ takes interrupts from.
INTERRUPT_CONTROLLER = 0x1_0000
#: IP-XACT's words for the access of registers.
_ACCESS = {"r": "read-only", "rw": "read-write", "w1c": "read-write", "w1s": "read-write"}
#: Bits of CONTROL that are commands; the others are status.
_COMMANDS = {"START", "RESET"}


class Preset(str, Enum):
    """Where the processor's settings come from: the board's files, our own list, or files where there are any."""

    AUTO = "auto"
    BOARD = "board"
    OWN = "own"


def design_name(board: Board) -> str:
    """Of the block design and of the files that PYNQ loads."""
    return f"moevit_{board.name.replace('-', '_')}"


def interfaces(table: PortTable) -> dict[str, dict[str, str]]:
    """Bus, clock, reset and interrupt interfaces of the wrapper with their parameters, as Vivado will infer them."""
    found = {}
    for port in table.ports:
        for name, value in port.attributes:
            if name == "X_INTERFACE_PARAMETER":
                parameters = dict(item.split(" ", 1) for item in value.split(", "))
                found[parameters.pop("XIL_INTERFACENAME")] = parameters
    return found


def _register(register: Register) -> dict[str, object]:
    bits = BITS if register.name == "CONTROL" else {}
    return {"name": register.name, "offset": register.offset, "access": _ACCESS[register.access],
            "description": register.doc,
            "fields": [{"name": name, "bit": bit, "access": "read-write" if name in _COMMANDS else "read-only"}
                       for name, bit in bits.items()]}


def settings(board: Board, config: MachineConfig, table: PortTable, top: str, preset: Preset) -> dict[str, Any]:
    """The scripts' dictionary. Raises VivadoError where the machine has more memory ports than the board."""
    data = BOARD_DATA[board.name]
    family = data.family
    buses = interfaces(table)
    masters = [name for name, parameters in buses.items() if parameters.get("PROTOCOL") == "AXI4"]
    if len(masters) > len(family.memory):
        raise VivadoError(ExitCode.PORTS, f"{config.name} has {len(masters)} memory ports, {board.name} has "
                          f"{len(family.memory)}", "Take a configuration with fewer")
    used = list(zip(masters, family.memory[:len(masters)], strict=True))
    properties = {**family.properties, family.clock_property: board.clock_mhz}
    for index, port in enumerate(family.memory):
        properties[port.enable] = int(index < len(used))
        if index < len(used):
            properties[port.width] = family.memory_bits
    vendor, library, name, version = VLNV.split(":")
    return {
        "name": design_name(board), "board": board.name, "part": data.part, "board_part": data.board_part,
        "preset": preset.value, "clock_mhz": board.clock_mhz, "top": top,
        "ip": {"vlnv": VLNV, "vendor": vendor, "library": library, "name": name, "version": version, "cell": CELL,
               "description": f"{config.name}: transformer accelerator, configuration 0x{config.hash:08X}",
               "lite": "s_axi", "masters": masters, "clock": "aclk", "reset": "aresetn", "interrupt": "irq",
               "aperture": APERTURE, "registers": [_register(register) for register in REGISTERS]},
        "processor": {
            "vlnv": family.processor, "rule": family.rule, "own": _config(data.own), "properties": _config(properties),
            "control": family.control, "control_clock": family.control_clock, "clock": family.clock,
            "reset": family.reset, "interrupt": family.interrupt, "external": list(family.external),
            "clock_actual": f"CONFIG.{family.clock_actual}",
            "memory": [{"master": master, "slave": port.interface, "clock": port.clock, "segments": port.segments}
                       for master, port in used]},
        "base": family.base, "interrupt_base": family.base + INTERRUPT_CONTROLLER,
        "exits": {code.name: int(code) for code in ExitCode},
    }


def _config(properties: dict[str, object]) -> dict[str, object]:
    return {f"CONFIG.{name}": value for name, value in properties.items()}


def settings_file(values: dict[str, Any]) -> str:
    """Text of ``settings.tcl``; one line per key, so that a difference can be read."""
    lines = [f"dict set settings {key} {tcl_word(value)}\n" for key, value in values.items()]
    return "# Generated by moevit.rtl_gen.vivado; do not edit.\n" + "".join(lines)


def constraints(board: Board) -> str:
    """XDC of the core alone: its clock. In the block design the processor's clock is constrained by itself."""
    return ("# Generated by moevit.rtl_gen.vivado; do not edit.\n"
            f"create_clock -name aclk -period {1e3 / board.clock_mhz:.3f} [get_ports aclk]\n")

