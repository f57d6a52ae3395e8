# SPDX-License-Identifier: Apache-2.0
"""The longest path to every end, by visiting the nets in topological order."""

from dataclasses import dataclass
from typing import NamedTuple

from ..yosys import SynthesisError
from .graph import PORT, Begin, Edge, End, Graph

__all__ = ["Path", "longest_paths"]


@dataclass
class _Arrivals:
    """Per net: when it is valid at the latest, after which begin or edge; most levels of LUTs on a way to it."""

    ns: dict[int, float]
    last: dict[int, Begin | Edge]
    levels: dict[int, int]


class Path(NamedTuple):
    """The longest path from registers, or from ports, to an end. ``levels``: of this path; ``most_levels``: of the path
    to this end that has most. Times in nanoseconds; ``net_ns`` is the part that nets take."""

    begin: Begin
    edges: list[Edge]
    end: End
    ns: float
    net_ns: float
    levels: int
    most_levels: int


def longest_paths(graph: Graph, *, from_ports: bool) -> list[Path]:
    """One path per end that is reached, in the order of ``graph.ends``. Raises SynthesisError for a loop without a
    register."""
    order = _topological(graph)
    arrivals = _Arrivals({}, {}, {})
    for begin in graph.begins:
        if (begin.cell == PORT) == from_ports and begin.ns > arrivals.ns.get(begin.net, -1.0):
            arrivals.ns[begin.net], arrivals.last[begin.net], arrivals.levels[begin.net] = begin.ns, begin, 0
    for net in order:
        if net in arrivals.ns:
            _relax(graph.edges.get(net, ()), arrivals)
    return [_path(end, arrivals) for end in graph.ends if end.net in arrivals.ns]


def _relax(edges: list[Edge] | tuple[Edge, ...], arrivals: _Arrivals) -> None:
    for edge in edges:
        ns = arrivals.ns[edge.source] + edge.net_ns + edge.cell_ns
        if ns > arrivals.ns.get(edge.target, -1.0):
            arrivals.ns[edge.target], arrivals.last[edge.target] = ns, edge
        levels = arrivals.levels[edge.source] + edge.level
        if levels > arrivals.levels.get(edge.target, -1):
            arrivals.levels[edge.target] = levels


def _topological(graph: Graph) -> list[int]:
    """Nets in an order in which every edge leads forward."""
    waiting: dict[int, int] = {}
    for edges in graph.edges.values():
        for edge in edges:
            waiting[edge.target] = waiting.get(edge.target, 0) + 1
    ready = [net for net in graph.edges if net not in waiting]
    order = []
    while ready:
        net = ready.pop()
        order.append(net)
        for edge in graph.edges.get(net, ()):
            waiting[edge.target] -= 1
            if not waiting[edge.target]:
                ready.append(edge.target)
                del waiting[edge.target]
    if waiting:
        cells = sorted({graph.cells[edge.cell].name for edges in graph.edges.values() for edge in edges
                        if edge.source in waiting and edge.target in waiting})
        raise SynthesisError(f"combinational loop: {len(waiting)} nets wait for each other, "
                             f"behind {', '.join(cells[:5])}")
    return order


def _path(end: End, arrivals: _Arrivals) -> Path:
    edges: list[Edge] = []
    net = end.net
    while isinstance(last := arrivals.last[net], Edge):
        edges.append(last)
        net = last.source
    edges.reverse()
    net_ns = sum(edge.net_ns for edge in edges) + end.net_ns
    return Path(last, edges, end, arrivals.ns[end.net] + end.net_ns + end.setup_ns, net_ns,
                sum(edge.level for edge in edges), arrivals.levels[end.net])
