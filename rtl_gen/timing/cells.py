# SPDX-License-Identifier: Apache-2.0
"""Where paths begin, run and end in each kind of cell."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..yosys import SynthesisError
from .netlist import Cell

__all__ = ["Arc", "CellTiming", "Launch", "Setup", "cell_timing"]

_Pin = tuple[str, int]


class Launch(NamedTuple):
    """A path begins: ``ns`` after the clock the output pin is valid."""

    pin: _Pin
    ns: float


class Setup(NamedTuple):
    """A path ends: the input pin is valid ``ns`` before the clock."""

    pin: _Pin
    ns: float


class Arc(NamedTuple):
    """A path runs from one pin to another. Between two outputs it runs inside the cell, without a net."""

    start: _Pin
    end: _Pin
    ns: float


class CellTiming(NamedTuple):
    """``level``: the cell counts as a level of LUTs."""

    launches: tuple[Launch, ...] = ()
    setups: tuple[Setup, ...] = ()
    arcs: tuple[Arc, ...] = ()
    level: bool = False


def cell_timing(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    """Raises SynthesisError for a kind of cell that the model does not know."""
    for pattern, make in _KINDS.items():
        if re.fullmatch(pattern, cell.kind):
            return make(cell, delays)
    raise SynthesisError(f"cell {cell.name} is a {cell.kind}: say in timing/cells.py how long it takes")


def _bits(cell: Cell, pattern: str) -> list[_Pin]:
    """Every bit of the pins whose names match."""
    return [(pin, bit) for pin, nets in cell.pins.items() if re.fullmatch(pattern, pin) for bit in range(len(nets))]


def _setups(cell: Cell, pattern: str, ns: float) -> tuple[Setup, ...]:
    return tuple(Setup(pin, ns) for pin in _bits(cell, pattern))


def _launches(cell: Cell, pattern: str, ns: float) -> tuple[Launch, ...]:
    return tuple(Launch(pin, ns) for pin in _bits(cell, pattern))


def _arcs(cell: Cell, start: str, end: str, ns: float) -> tuple[Arc, ...]:
    return tuple(Arc(a, b, ns) for a in _bits(cell, start) for b in _bits(cell, end))


def _lut(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    inputs = sum(pin.startswith("I") for pin in cell.pins)
    size = "small" if inputs <= 2 else "medium" if inputs <= 4 else "large"
    return CellTiming(arcs=_arcs(cell, r"I\d?", "O", delays[f"lut_{size}"]), level=True)


def _mux(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    return CellTiming(arcs=_arcs(cell, "I[01]", "O", delays["mux"]) + _arcs(cell, "S", "O", delays["mux_select"]))


def _carry(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    """Into the chain at a bit, along the carries, out at sum bits. The carry of each bit is ``CO``, used or not."""
    width = len(cell.pins["O"])
    step = delays["carry_step"] / width
    arcs = [Arc(pin, ("CO", 0), step if pin[0] == "CI" else delays["carry_in"]) for pin in _bits(cell, "CI|CYINIT")]
    arcs += [Arc(pin, ("O", 0), delays["carry_out"]) for pin in _bits(cell, "CI|CYINIT")]
    for bit in range(width):
        arcs += [Arc((pin, bit), ("CO", bit), delays["carry_in"]) for pin in ("S", "DI")]
        arcs.append(Arc(("S", bit), ("O", bit), delays["carry_through"]))
        if bit:
            arcs += [Arc(("CO", bit - 1), ("CO", bit), step), Arc(("CO", bit - 1), ("O", bit), delays["carry_out"])]
    return CellTiming(arcs=tuple(arcs))


def _flip_flop(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    setups = (_setups(cell, "D", delays["ff_data"]) + _setups(cell, "CE", delays["ff_enable"])
              + _setups(cell, "R|S|CLR|PRE", delays["ff_reset"]))
    return CellTiming(_launches(cell, "Q", delays["ff_out"]), setups)


def _shift(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    setups = _setups(cell, "D", delays["srl_data"]) + _setups(cell, "CE", delays["ff_enable"])
    return CellTiming(_launches(cell, "Q(31)?", delays["srl_out"]), setups,
                      _arcs(cell, r"A\d?", "Q", delays["lutram_read"]))


def _lutram(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    """``RAM32M`` and its like have an output per address, and write at the last one; ``RAM64X1D`` and its like read at
    the write address ``A`` and at ``DPRA``."""
    letters = sorted(pin[-1] for pin in cell.pins if re.fullmatch("ADDR[A-H]", pin))
    arcs: tuple[Arc, ...]
    if letters:
        write = f"ADDR{letters[-1]}"
        arcs = tuple(arc for each in letters for arc in _arcs(cell, f"ADDR{each}", f"DO{each}", delays["lutram_read"]))
    else:
        write = r"A\d?"
        arcs = (_arcs(cell, write, "SPO", delays["lutram_read"])
                + _arcs(cell, r"DPRA\d?", "DPO", delays["lutram_read"]))
    setups = (_setups(cell, "DI?[A-H]?", delays["lutram_data"]) + _setups(cell, write, delays["lutram_address"])
              + _setups(cell, "WE", delays["lutram_enable"]))
    return CellTiming(_launches(cell, "DO[A-H]|[SD]PO", delays["lutram_out"]), setups, arcs)


def _bram(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    """Outputs of port A are ``DOADO``, ``DOUTADOUT`` and their parities, those of port B with a B."""
    parameters = dict(cell.parameters)
    launches: list[Launch] = []
    for port in "AB":
        registered = parameters.get(f"DO{port}_REG", "0") == "1"
        launches += _launches(cell, f"DO(UT)?P?{port}\\w*", delays["bram_out" + "_registered" * registered])
    setups = (_setups(cell, r"ADDR[AB]\w*", delays["bram_address"])
              + _setups(cell, r"DI(N)?P?[AB]\w*", delays["bram_data"])
              + _setups(cell, r"WE[AB]\w*|EN[AB]\w*|REGCE\w*|RST\w*|SLEEP", delays["bram_enable"]))
    return CellTiming(tuple(launches), setups)


def _uram(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    parameters = dict(cell.parameters)
    launches: list[Launch] = []
    for port in "AB":
        registered = parameters.get(f"OREG_{port}", "FALSE") in ("TRUE", "1")
        launches += _launches(cell, f"DOUT_{port}", delays["uram_out" + "_registered" * registered])
    inputs = r"(ADDR|DIN|EN|RDB_WR|BWE|OREG_CE|OREG_ECC_CE|RST|INJECT_\w+)_[AB]|SLEEP"
    return CellTiming(tuple(launches), _setups(cell, inputs, delays["uram_in"]))


def _dsp(cell: Cell, delays: Mapping[str, float]) -> CellTiming:
    """Each input's way to ``P`` is a list of sections with the register behind each. A path that comes in ends at the
    first register on the way, one that goes out begins at the last; without any it runs through."""
    have = {name for name, value in cell.parameters if name.endswith("REG") and value != "0"}
    preadd = [("dsp_preadd", "ADREG")] if dict(cell.parameters).get("USE_DPORT") == "TRUE" else []
    multiply = [("dsp_multiply", "MREG"), ("dsp_add", "PREG")]
    ways = {"A": [("dsp_in", "AREG"), *preadd, *multiply], "D": [("dsp_in", "DREG"), *preadd, *multiply],
            "B": [("dsp_in", "BREG"), *multiply], "C": [("dsp_in", "CREG"), ("dsp_add", "PREG")],
            "PCIN": [("dsp_cascade", "PREG")], "INMODE": [("dsp_in", ""), *multiply],
            "OPMODE|ALUMODE|CARRYIN|CARRYINSEL": [("dsp_in", ""), ("dsp_add", "PREG")]}
    setups = _setups(cell, r"CE\w+|RST\w+", delays["dsp_control"] if have else 0.0)
    arcs: tuple[Arc, ...] = ()
    out = 0.0
    for pins, way in ways.items():
        registers = [index for index, (_, register) in enumerate(way) if register in have]
        total = [delays[section] for section, _ in way]
        if registers:
            setups += _setups(cell, pins, sum(total[:registers[0] + 1]))
            out = max(out, delays["dsp_out"] + sum(total[registers[-1] + 1:]))
        else:
            arcs += _arcs(cell, pins, "P|PCOUT|CARRYOUT", sum(total))
    return CellTiming(_launches(cell, "P|PCOUT|CARRYOUT", out) if out else (), setups if have else (), arcs)


_KINDS: dict[str, Callable[[Cell, Mapping[str, float]], CellTiming]] = {
    r"LUT[1-6]|INV": _lut,
    r"MUXF[789]": _mux,
    r"CARRY[48]": _carry,
    r"FD[RSCP]E": _flip_flop,
    r"SRL16E|SRLC16E|SRLC32E": _shift,
    r"RAM(32M|64M|32M16|64M8|32X1D|64X1D|128X1D|256X1D)": _lutram,
    r"RAMB(18|36)E[12]": _bram,
    r"URAM288": _uram,
    r"DSP48E[12]": _dsp,
}
