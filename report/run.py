# SPDX-License-Identifier: Apache-2.0
"""What a run leaves, as the bars, passes and loads that the drawings take."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moevit.host.report import KINDS, PassReport
from moevit.spec.bundle import Bundle
from moevit.spec.isa import Opcode, Region, decode
from moevit.spec.parts import Part

from .colours import KIND_COLOURS
from .roofline import Pass
from .timeline import Bar, Lane

__all__ = ["load_bars", "logged", "machine_loads", "predicted_lane", "predicted_passes", "program",
           "roofline_passes", "write_bars"]

_FRAME = KIND_COLOURS["image, output"]  # of what belongs to no pass
_APART = 256  # cycles between write bursts that are drawn as one bar, at most


def program(bundle: Bundle) -> list[tuple[Mapping[str, Any], dict[str, int]]]:
    """Manifest entry and fields of each instruction."""
    words = np.frombuffer(bundle.program, "<u4").reshape(-1, 16)
    return list(zip(bundle.manifest["instructions"], map(decode, words), strict=True))


def logged(passes: Sequence[PassReport]) -> Lane:
    """The machine's log: it has the cycle of an instruction's end, so a bar begins with the end of the one before."""
    bars = [Bar(each.name, each.end - each.cycles, each.end, KIND_COLOURS[KINDS[each.part]], each.block)
            for each in passes]
    return Lane("compute", "instructions, from the machine's log", [bar for bar in bars if bar.end > bar.start])


def predicted_lane(passes: Sequence[Any]) -> Lane:
    """The estimator's passes: first row read to last row stored."""
    return Lane("compute, predicted", "by the estimator",
                [Bar(each.name, each.start, each.end, KIND_COLOURS[KINDS[each.part]], each.block) for each in passes])


def roofline_passes(passes: Sequence[PassReport]) -> list[Pass]:
    """Of what the machine logged."""
    return [Pass(each.name, KINDS[each.part], each.macs, each.bytes, each.cycles) for each in passes]


def predicted_passes(passes: Sequence[Any], bundle: Bundle, beat_bytes: int) -> list[Pass]:
    """Of the estimator; as in the log, the cycles of a pass are those since the end of the one before."""
    macs = {entry["name"]: entry["macs_per_row"] for entry, fields in program(bundle)
            if fields["opcode"] == Opcode.PASS}
    ends = [0.0, *(each.end for each in passes)]
    return [Pass(each.name, KINDS[each.part], macs.get(each.name, 0) * each.rows, each.beats * beat_bytes,
                 each.end - before) for each, before in zip(passes, ends, strict=False)]


def load_bars(bursts: np.ndarray, bundle: Bundle, addresses: Mapping[str, int]) -> Lane:
    """Read bursts that the memory took, joined as long as they are for the same instruction. Cycles begin with the
    first of them, the program's. ``bursts`` as `sim.verilator.records.BURST` has them."""
    reads = np.sort(bursts[bursts["write"] == 0], order="cycle", kind="stable")
    if not len(reads):
        return Lane("load", "no read bursts", [])
    places, what = _places(bundle, addresses)
    order = np.argsort(places, kind="stable")
    owner = order[np.clip(np.searchsorted(places[order], reads["address"].astype(np.int64), side="right") - 1, 0, None)]
    ends = np.flatnonzero(np.diff(owner, append=-1))
    cycles = reads["cycle"].astype(float) - float(reads["cycle"][0])
    bars = [Bar(what[owner[last]][0], cycles[first], cycles[last] + float(reads["beats"][last]), what[owner[last]][1])
            for first, last in zip([0, *(ends[:-1] + 1)], ends, strict=True)]
    return Lane("load", "read bursts of the memory bus", bars)


def write_bars(bursts: np.ndarray) -> Lane:
    """Write bursts that the memory took, joined where they follow each other."""
    first = float(bursts["cycle"][bursts["write"] == 0].min()) if len(bursts) else 0.0
    writes = np.sort(bursts[bursts["write"] == 1], order="cycle", kind="stable")
    bars: list[Bar] = []
    for cycle, beats in zip(writes["cycle"].astype(float) - first, writes["beats"].astype(float), strict=True):
        if bars and cycle - bars[-1].end < _APART:
            bars[-1] = bars[-1]._replace(end=max(bars[-1].end, cycle + beats))
        else:
            bars.append(Bar("tokens", cycle, cycle + beats, _FRAME))
    return Lane("write", "write bursts of the memory bus", bars)


def _places(bundle: Bundle, addresses: Mapping[str, int]) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """First address of everything that is read; its name and colour."""
    found = [(addresses["program"], "program", _FRAME)]
    found += [(place, "image", _FRAME) for name, place in addresses.items() if name.startswith("image")]
    for entry, fields in program(bundle):
        if not fields.get("region_beats") or fields["region"] not in (Region.WEIGHTS, Region.GATES):
            continue
        if fields["region"] == Region.WEIGHTS:
            base, step = addresses["weights"], fields.get("expert_beats", 0) * bundle.manifest["bus_bytes"]
            copies = len(entry.get("experts", [0])) if step else 1
        else:
            base, step, copies = addresses["gates"], bundle.manifest["gate_stride"], len(bundle.tasks)
        colour = KIND_COLOURS[KINDS[Part(entry["part"])]]
        found += [(base + fields["region_offset"] + copy * step, entry["name"], colour) for copy in range(copies)]
    return np.array([place for place, _, _ in found], np.int64), [(name, colour) for _, name, colour in found]


def machine_loads(expert_rows: Mapping[int, Mapping[int, int]],
                  bundle: Bundle) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Rows of each expert in the machine's order, and how many experts are asked for early, by block: what the
    estimator takes."""
    loads: dict[int, list[int]] = {}
    early: dict[int, int] = {}
    speculate = 0
    for entry, fields in program(bundle):
        if fields["opcode"] == Opcode.EXPERTS:
            speculate = fields["speculate"]
        if entry["part"] == Part.EXPERT_FC1.value:
            rows = expert_rows.get(entry["block"], {})
            loads[entry["block"]] = [rows.get(expert, 0) for expert in entry["experts"]]
            early[entry["block"]] = speculate
    return loads, early
