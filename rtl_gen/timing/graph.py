# SPDX-License-Identifier: Apache-2.0
"""A netlist as a graph of nets: where paths begin and end, and what lies between."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..yosys import SynthesisError
from .cells import CellTiming, cell_timing
from .netlist import Cell, Netlist

__all__ = ["PORT", "Begin", "Edge", "End", "Graph", "graph_of"]

_CASCADES = ("CI", "PCIN", "ACIN", "BCIN", "CARRYCASCIN", "MULTSIGNIN")
#: Stands for a port where a cell's number is expected.
PORT = -1


class Begin(NamedTuple):
    """``net`` is valid ``ns`` after the clock. ``cell``: its number, or `PORT`, whose name is ``pin``."""

    net: int
    ns: float
    cell: int
    pin: str


class End(NamedTuple):
    """``net`` has to be valid ``net_ns + setup_ns`` before the clock."""

    net: int
    net_ns: float
    setup_ns: float
    cell: int
    pin: str


class Edge(NamedTuple):
    """From the driver of ``source`` to the driver of ``target``: along the net, through ``cell``."""

    source: int
    target: int
    net_ns: float
    cell_ns: float
    cell: int
    level: bool


@dataclass
class Graph:
    """``edges``: by the net from which they leave."""

    cells: list[Cell]
    begins: list[Begin] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    edges: dict[int, list[Edge]] = field(default_factory=dict)


class _Nets:
    """Fan-out, driver and delay of each net."""

    def __init__(self, netlist: Netlist, delays: Mapping[str, float]):
        self._delays = delays
        self.driver: dict[int, Cell] = {}
        self.fanout: dict[int, int] = {}
        sinks = [cell.pins[pin] for cell in netlist.cells for pin in cell.inputs]
        for nets in (*sinks, *netlist.outputs.values()):
            for net in nets:
                if net is not None:
                    self.fanout[net] = self.fanout.get(net, 0) + 1
        for cell in netlist.cells:
            for pin in cell.outputs:
                self.driver.update((net, cell) for net in cell.pins[pin] if net is not None)

    def ns(self, net: int, sink: Cell | None = None, pin: str = "") -> float:
        driver, fanout = self.driver.get(net), self.fanout[net]
        if sink is not None and driver is not None and _in_slice(driver.kind, sink.kind, pin, fanout):
            return self._delays["net_local"]
        return self._delays["net"] + self._delays["net_fanout"] * math.log2(fanout)


def _in_slice(driver: str, sink: str, pin: str, fanout: int) -> bool:
    """Whether a net stays in a slice or on a cascade, as far as the cells tell: a carry into the next one, a LUT's
    only use in a carry, a MUXF or the flip-flop beside it, and cascades of block RAM, UltraRAM and DSP slices."""
    if pin in _CASCADES or pin.startswith(("CASDI", "CAS_IN")):
        return True
    if sink.startswith("MUXF") and pin != "S":
        return driver.startswith(("LUT", "MUXF"))
    alone = fanout == 1 and driver.startswith(("LUT", "MUXF", "CARRY"))
    return alone and (sink.startswith("CARRY") and pin == "S" or sink.startswith("FD") and pin == "D")


def graph_of(netlist: Netlist, delays: Mapping[str, float]) -> Graph:
    """Raises SynthesisError for a cell, or an input of one, that the model does not know."""
    graph, nets = Graph(netlist.cells), _Nets(netlist, delays)
    timings: dict[object, CellTiming] = {}
    for number, cell in enumerate(netlist.cells):
        shape = (cell.kind, cell.parameters, tuple((pin, len(bits), any(bits)) for pin, bits in cell.pins.items()))
        if shape not in timings:
            timings[shape] = cell_timing(cell, delays)
            _refuse_unknown_pins(cell, timings[shape])
        _add_cell(graph, nets, number, timings[shape])
    for name, bits in netlist.inputs.items():
        graph.begins += [Begin(net, delays["ff_out"], PORT, name) for net in bits
                         if net is not None and net in nets.fanout]
    for name, bits in netlist.outputs.items():
        graph.ends += [End(net, nets.ns(net), delays["ff_data"], PORT, name) for net in bits if net is not None]
    return graph


def _refuse_unknown_pins(cell: Cell, timing: CellTiming) -> None:
    """An input at which no path ends and from which none runs on would be left out without a word."""
    known = {setup.pin[0] for setup in timing.setups} | {arc.start[0] for arc in timing.arcs}
    unknown = [pin for pin in cell.inputs if any(cell.pins[pin]) and pin not in known]
    if unknown:
        raise SynthesisError(f"cell {cell.name}, a {cell.kind}, has inputs {', '.join(unknown)}: say in "
                             f"timing/cells.py how long they take")


def _add_cell(graph: Graph, nets: _Nets, number: int, timing: CellTiming) -> None:
    cell = graph.cells[number]

    def net_of(pin: tuple[str, int]) -> int | None:
        return cell.pins[pin[0]][pin[1]]

    for launch in timing.launches:
        net = net_of(launch.pin)
        if net is not None:
            graph.begins.append(Begin(net, launch.ns, number, launch.pin[0]))
    for setup in timing.setups:
        net = net_of(setup.pin)
        if net is not None:
            graph.ends.append(End(net, nets.ns(net, cell, setup.pin[0]), setup.ns, number, setup.pin[0]))
    for arc in timing.arcs:
        source, target = net_of(arc.start), net_of(arc.end)
        if source is not None and target is not None:
            inside = arc.start[0] in cell.outputs
            net_ns = 0.0 if inside else nets.ns(source, cell, arc.start[0])
            graph.edges.setdefault(source, []).append(Edge(source, target, net_ns, arc.ns, number, timing.level))
