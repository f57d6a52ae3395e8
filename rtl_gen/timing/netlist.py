# SPDX-License-Identifier: Apache-2.0
"""A flat netlist of mapped cells, as Yosys writes it in JSON, without what timing does not ask for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Cell", "Netlist", "read_netlist", "reduced"]

_CLOCKS = frozenset({"CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK"})
#: Parameters that decide where a cell's registers are.
_PARAMETERS = frozenset({"AREG", "BREG", "CREG", "DREG", "ADREG", "MREG", "PREG", "USE_DPORT", "USE_MULT", "DOA_REG",
                         "DOB_REG", "OREG_A", "OREG_B"})


class Cell(NamedTuple):
    """``pins``: nets by pin, bit 0 first; None where the bit is a constant. ``outputs``: the pins that drive."""

    name: str
    kind: str
    parameters: tuple[tuple[str, str], ...]
    pins: dict[str, list[int | None]]
    outputs: frozenset[str]

    @property
    def inputs(self) -> frozenset[str]:
        """Without clocks: one clock feeds all of them, so no path runs through one. ``C`` is the clock of a flip-flop
        and an operand of a DSP slice."""
        clocks = {"C"} if self.kind.startswith("FD") else _CLOCKS
        return frozenset(self.pins) - self.outputs - clocks


class Netlist(NamedTuple):
    """``inputs`` and ``outputs``: nets of the ports by name."""

    cells: list[Cell]
    inputs: dict[str, list[int | None]]
    outputs: dict[str, list[int | None]]


def read_netlist(module: Mapping[str, Any]) -> Netlist:
    """A module of Yosys' JSON, whole or as `reduced`."""
    cells = []
    for name, cell in module["cells"].items():
        if cell["type"] == "$scopeinfo":  # only a name
            continue
        outputs = frozenset(pin for pin, way in cell["port_directions"].items() if way == "output")
        pins = {pin: _nets(bits) for pin, bits in cell["connections"].items()}
        cells.append(Cell(name, cell["type"], _registers(cell["parameters"]), pins, outputs))
    ports = {way: {name: _nets(port["bits"]) for name, port in module["ports"].items() if port["direction"] == way}
             for way in ("input", "output")}
    return Netlist(cells, ports["input"], ports["output"])


def reduced(module: Mapping[str, Any]) -> dict[str, Any]:
    """What `read_netlist` reads of a module: a tenth of the file, contents of memories left out."""
    cells = {name: {"type": cell["type"], "parameters": dict(_registers(cell["parameters"])),
                    "port_directions": cell["port_directions"], "connections": cell["connections"]}
             for name, cell in module["cells"].items()}
    return {"cells": cells, "ports": module["ports"]}


def _nets(bits: list[int | str]) -> list[int | None]:
    return [bit if isinstance(bit, int) else None for bit in bits]


def _registers(parameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The parameters that matter; numbers, which Yosys writes as 32 bits, in short."""
    kept = ((name, value.strip()) for name, value in parameters.items() if name in _PARAMETERS)
    return tuple(sorted((name, str(int(value, 2)) if set(value) <= {"0", "1"} else value) for name, value in kept))
