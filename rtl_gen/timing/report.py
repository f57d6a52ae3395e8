# SPDX-License-Identifier: Apache-2.0
"""``docs/timing.md`` from ``docs/timing.json``."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from .classes import CLASSES, MARGIN, MOST_LEVELS, TimingClass
from .delays import FACTORS, FIGURES
from .document import missing
from .measure import BINS

__all__ = ["report"]

_INTRODUCTION = """\
# Timing

A static timing analysis of our own over the netlists that Yosys maps ({version}). Written by `make timing` (`moevit
timing`) from `docs/timing.json`. No unit was placed or routed and Vivado did not run: **this is a model**.

## What is measured

- Each unit is synthesised on its own for the family of its board and flattened. The model adds up the delays of cells
  and nets on the longest path to every input of a register, memory or DSP slice. A loop without a register is an error.
- The clock is the one that the board is to reach. The limit is its period less {margin:.0f} % for what the model cannot
  see: placement, congestion, clock skew and jitter. No path may have more than {levels} levels of LUTs. Inverters count
  as LUTs. Multiplexers of a slice (MUXF) and carries do not count as levels, but take time.
- A unit **passes** if no path between its own registers is above the limit and none has more levels. Paths from and to
  its ports are counted apart, as if a flip-flop stood right behind each port. In the machine such a path goes on in the
  next unit: the whole machine, the last row of boards, has them.
- A net takes time for its fan-out, and hardly any where it stays in a slice: from carry to carry, from a LUT to its
  only use in a carry or in a flip-flop's D, into a MUXF, and on the cascades of DSP slices and block RAMs.
- Registers inside a DSP slice or a block RAM are taken from the cell's parameters. Paths inside a slice, from register
  to register, are not in the model: the data sheets allow 464 MHz and more where all of them are used. For UltraScale+
  Yosys leaves the registers and adders around the array's multipliers outside the slices ([area](area.md)): `compute`
  is slower here than in a slice.
- Yosys saves area on paths that are not the longest of their unit, with no regard to the clock: it may leave chains of
  small LUTs where a tool that knows the clock would not.
- Names are those of registers and memories. A source line is where the signal was made. LUTs have no lines: they
  are known by the kinds of cells on the path.
"""

_TABLE = """
| unit | worst ns | limit ns | slack to the clock, ns | LUT levels | ends | over the limit | over {levels} levels | \
ports: worst ns | ports: over | passes |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""


def report(document: Mapping[str, Any]) -> str:
    """The page."""
    text = _INTRODUCTION.format(version=f"pyosys {version('pyosys')}", margin=100 * MARGIN, levels=MOST_LEVELS)
    text += _summary(document) + _calibration(document["calibration"])
    for kind in CLASSES:
        for each in document["classes"]:
            if (each["board"], each["config"]) == (kind.board, kind.config):
                text += _section(kind, each)
    return text + _delays()


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |\n"


def _passes(unit: Mapping[str, Any]) -> bool:
    return not unit["paths_over"] and unit["levels"] <= MOST_LEVELS


def _summary(document: Mapping[str, Any]) -> str:
    text = "\n## Boards\n\n"
    text += _row("board", "machine", "grade", "clock", "limit", "pass", "do not pass", "not measured yet")
    text += _row("---", "---", "---", "---:", "---:", "---", "---", "---")
    known = {(each["board"], each["config"]): each["units"] for each in document["classes"]}
    for kind in CLASSES:
        units = known.get((kind.board, kind.config), [])
        good = ", ".join(f"`{unit['unit']}`" for unit in units if _passes(unit))
        bad = ", ".join(f"`{unit['unit']}` {unit['worst_ns']:.2f} ns" for unit in units if not _passes(unit))
        left = ", ".join(f"`{unit}`" for unit in missing(document, kind))
        text += _row(kind.board, kind.config, kind.grade, f"{kind.clock_mhz:g} MHz", f"{kind.limit_ns:.2f} ns",
                     good or "-", bad or "-", left or "-")
    return text


def _calibration(found: Mapping[str, Any] | None) -> str:
    text = "\n## Calibration\n\n"
    if not found or found["spearman"] is None:
        return text + "The model was not compared with a placed part this time.\n"
    blocks = [f"`{unit['unit']}`" for unit in found["units"] if unit["block"]]
    luts = "not known: they are too few" if found["spearman_luts"] is None else f"**{found['spearman_luts']:.2f}**"
    others = len(found["units"]) - len(blocks)
    text += (f"The units of the small machine of the [ECP5 page](ecp5.md), mapped for UltraScale+ -1, beside what "
             f"nextpnr reaches on an ECP5. Only the order of the units can be compared. Spearman's rank correlation "
             f"over {len(found['units'])} units is **{found['spearman']:.2f}**. The slowest placed path of "
             f"{', '.join(blocks) or 'none'} runs through a multiplier or a block RAM. Beside its LUTs an ECP5 has "
             f"slower ones than our parts. Over the other {others} units the correlation is {luts}. Paths at ports are "
             f"included, since the placed units sit between shift registers. The model finds long paths; it does not "
             f"predict a clock.\n\n")
    text += _row("unit", "model ns", "placed ns") + _row("---", "---:", "---:")
    return text + "".join(_row(f"`{unit['unit']}`", f"{unit['model_ns']:.2f}", f"{unit['placed_ns']:.2f}")
                          for unit in found["units"])


def _section(kind: TimingClass, entry: Mapping[str, Any]) -> str:
    text = (f"\n## {kind.config} for {kind.board}, {kind.grade}, {kind.clock_mhz:g} MHz\n\n"
            f"Period {kind.period_ns:.2f} ns, limit {kind.limit_ns:.2f} ns.\n") + _TABLE.format(levels=MOST_LEVELS)
    for unit in entry["units"]:
        ports = unit["ports"]
        text += _row(f"`{unit['unit']}`", *(f"{unit[ns]:.2f}" for ns in ("worst_ns", "limit_ns", "slack_ns")),
                     unit["levels"], f"{unit['ends']:,}", f"{unit['paths_over']:,}", f"{unit['levels_over']:,}",
                     f"{ports['worst_ns']:.2f}", f"{ports['paths_over']:,}", _verdict(unit))
    text += _structures(entry["units"]) + _histogram(entry["units"])
    return text + "".join(_paths(unit) for unit in entry["units"])


def _verdict(unit: Mapping[str, Any]) -> str:
    reasons = []
    if unit["paths_over"]:
        reasons.append(f"{unit['worst_ns'] - unit['limit_ns']:.2f} ns too long")
    if unit["levels"] > MOST_LEVELS:
        more = unit["levels"] - MOST_LEVELS
        reasons.append(f"{more} level{'s' * (more > 1)} too many")
    return "no: " + ", ".join(reasons) if reasons else "yes"


def _structures(units: Sequence[Mapping[str, Any]]) -> str:
    """The signals from which most of the long paths of all units start."""
    starts = sorted(((each["over"], unit["unit"], each["start"], each["line"]) for unit in units
                     for each in unit["starts"]), key=lambda each: (-each[0], each[1:]))[:8]
    if not starts:
        return "\nNo path is above the limit.\n"
    text = "\nWhere most of the paths above the limit start:\n\n"
    text += _row("unit", "signal", "made at", "ends over the limit") + _row("---", "---", "---", "---:")
    return text + "".join(_row(f"`{unit}`", f"`{start}`", line or "-", f"{over:,}")
                          for over, unit, start, line in starts)


def _histogram(units: Sequence[Mapping[str, Any]]) -> str:
    shares = [0.0, *BINS]
    heads = [f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in zip(shares, BINS, strict=False)]
    text = "\nEnds by the share of the period that their longest path takes:\n\n"
    text += _row("unit", *heads, f"over {100 * BINS[-1]:.0f} %") + _row("---", *["---:"] * (len(heads) + 1))
    return text + "".join(_row(f"`{unit['unit']}`", *(f"{count:,}" for count in unit["histogram"])) for unit in units)


def _paths(unit: Mapping[str, Any]) -> str:
    text = f"\n### Longest paths of `{unit['unit']}`\n\n"
    text += _row("ns", "nets", "levels", "start", "end", "ends over", "cells")
    text += _row("---:", "---:", "---:", "---", "---", "---:", "---")
    for path in unit["paths"]:
        ends = [f"`{path[end]}` {path[end + '_line']}".rstrip() for end in ("start", "end")]
        text += _row(f"{path['ns']:.2f}", f"{path['net_ns']:.2f}", path["levels"], *ends, path["over"], path["cells"])
    return text


def _delays() -> str:
    text = ("\n## Delays\n\nNanoseconds at UltraScale+ -2 and at 7-series -1. A net with n ends takes *net, general "
            "routing* plus log2(n) times *each doubling*.\n\n")
    text += _row("what", "UltraScale+ -2", "7-series -1", "source UltraScale+", "source 7-series")
    text += _row("---", "---:", "---:", "---", "---")
    for figure in FIGURES.values():
        text += _row(figure.what, f"{figure.ultrascale:g}", f"{figure.series7:g}" if figure.series7 else "-",
                     figure.ultrascale_source, figure.series7_source)
    text += "\nOther grades of UltraScale+ are these times a factor:\n\n" + _row("cells", "-1", "-2LV", "source")
    text += _row("---", "---:", "---:", "---")
    names = {"fabric": "LUTs, carries, nets, flip-flops, LUT RAM", "bram": "block RAM, UltraRAM", "dsp": "DSP slices"}
    return text + "".join(_row(names[name], f"{factors['-1']:g}", f"{factors['-2LV']:g}", source)
                          for name, (factors, source) in FACTORS.items())
