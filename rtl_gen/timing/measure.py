# SPDX-License-Identifier: Apache-2.0
"""What ``docs/timing.json`` says of a unit: its longest paths, how many are too long, and where they are."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .classes import MOST_LEVELS, TimingClass
from .delays import delays
from .graph import PORT, Graph, graph_of
from .longest import Path, longest_paths
from .netlist import Netlist
from .sources import Sources, plain_name

__all__ = ["BINS", "measure"]

#: Upper ends of the histogram's bins, as shares of the period; the last bin is open.
BINS = (0.25, 0.5, 0.75, 0.85, 1.0)
_WORST, _STARTS = 10, 8


def measure(netlist: Netlist, kind: TimingClass, sources: Sources | None = None) -> dict[str, Any]:
    """Figures of a netlist at ``kind``'s speed grade and clock. Paths that begin or end at ports, where a register is
    assumed on the other side, are counted apart. Raises SynthesisError."""
    graph = graph_of(netlist, delays(kind.grade))
    reached = longest_paths(graph, from_ports=False)
    inner = [path for path in reached if path.end.cell != PORT]
    ports = [path for path in reached if path.end.cell == PORT] + longest_paths(graph, from_ports=True)
    over = [path for path in inner if path.ns > kind.limit_ns]
    worst = _worst_ns(inner)
    return {
        "cells": len(netlist.cells), "ends": len(inner), "worst_ns": worst, "levels": _levels(inner),
        "limit_ns": round(kind.limit_ns, 3), "slack_ns": round(kind.period_ns - worst, 3), "paths_over": len(over),
        "levels_over": sum(path.most_levels > MOST_LEVELS for path in inner),
        "ports": {"ends": len(ports), "worst_ns": _worst_ns(ports), "levels": _levels(ports),
                  "paths_over": sum(path.ns > kind.limit_ns for path in ports)},
        "histogram": _histogram(inner, kind.period_ns),
        "paths": _worst_paths(graph, inner, kind.limit_ns, sources),
        "starts": _starts(graph, over, sources),
    }


def _worst_ns(paths: list[Path]) -> float:
    return round(max((path.ns for path in paths), default=0.0), 3)


def _levels(paths: list[Path]) -> int:
    return max((path.most_levels for path in paths), default=0)


def _histogram(paths: Iterable[Path], period: float) -> list[int]:
    counts = [0] * (len(BINS) + 1)
    for path in paths:
        counts[sum(path.ns > share * period for share in BINS)] += 1
    return counts


def _signal(graph: Graph, number: int) -> str:
    cell = graph.cells[number]
    return plain_name(cell.name, cell.kind)


def _lanes(name: str) -> str:
    """The same for all lanes, banks and ports, which differ in a number."""
    return re.sub(r"_\d+", "_*", name)


def _worst_paths(graph: Graph, paths: list[Path], limit: float, sources: Sources | None) -> list[dict[str, Any]]:
    """The longest path between each two signals, lanes taken together, and the ten longest of these; ``over``: how many
    of the ends between the two are over the limit."""
    longest: dict[tuple[str, str], Path] = {}
    over: Counter[tuple[str, str]] = Counter()
    for path in paths:
        key = _lanes(_signal(graph, path.begin.cell)), _lanes(_signal(graph, path.end.cell))
        if key not in longest or path.ns > longest[key].ns:
            longest[key] = path
        over[key] += path.ns > limit
    chosen = sorted(longest.items(), key=lambda item: (-item[1].ns, item[0]))[:_WORST]
    return [_row(graph, path, over[key], sources) for key, path in chosen]


def _row(graph: Graph, path: Path, over: int, sources: Sources | None) -> dict[str, Any]:
    start, end = _signal(graph, path.begin.cell), _signal(graph, path.end.cell)
    return {"start": start, "start_line": sources.line(start) if sources else "",
            "end": f"{end}.{path.end.pin}", "end_line": sources.line(end) if sources else "",
            "ns": round(path.ns, 3), "net_ns": round(path.net_ns, 3), "levels": path.levels, "over": over,
            "cells": _cells(graph, path)}


def _cells(graph: Graph, path: Path) -> str:
    """Kinds of the cells on a path, those of a carry chain once with their number."""
    kinds: list[list[Any]] = [[graph.cells[path.begin.cell].kind, 1]]
    before = path.begin.cell
    for edge in path.edges:
        kind = graph.cells[edge.cell].kind
        if edge.cell == before and kind == kinds[-1][0]:
            continue  # from carry to carry within a cell
        if kind == kinds[-1][0] and kind.startswith("CARRY"):
            kinds[-1][1] += 1
        else:
            kinds.append([kind, 1])
        before = edge.cell
    return " ".join(kind if count == 1 else f"{count}x{kind}" for kind, count in kinds)


def _starts(graph: Graph, over: list[Path], sources: Sources | None) -> list[dict[str, Any]]:
    """Signals from which most paths start that are over the limit, lanes taken together; one of them is named."""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for path in over:
        name = _signal(graph, path.begin.cell)
        counts[_lanes(name)] += 1
        names[_lanes(name)] = min(name, names.get(_lanes(name), name))
    chosen = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_STARTS]
    return [{"start": names[key], "line": sources.line(names[key]) if sources else "", "over": count}
            for key, count in chosen]
