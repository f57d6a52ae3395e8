# SPDX-License-Identifier: Apache-2.0
"""Cell counts of a component by Yosys, which runs in a process of its own."""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from .share import share_modules

__all__ = ["YOSYS_SCRIPT", "Resources", "SynthesisError", "cells", "component_rtlil", "resources"]


class SynthesisError(RuntimeError):
    """Yosys, nextpnr or a timing step refused a design, or stopped before its end.

    Fix: read the end of the log that the message names; for an unknown cell, add it where the message says.
    """


class Resources(NamedTuple):
    """Cells of a unit. ``memory_lut``: LUTs as RAM or shift registers. ``bram``: blocks of 36 Kbit."""

    dsp: float = 0
    bram: float = 0
    uram: float = 0
    lut: float = 0
    memory_lut: float = 0
    ff: float = 0
    carry: float = 0

    def plus(self, other: "Resources", count: int = 1) -> "Resources":
        return Resources(*(a + count * b for a, b in zip(self, other, strict=True)))


_CELLS = {
    r"DSP48E[12]": Resources(dsp=1),
    r"RAMB36E[12]": Resources(bram=1),
    r"RAMB18E[12]": Resources(bram=0.5),
    r"URAM288": Resources(uram=1),
    r"LUT[1-6]|INV": Resources(lut=1),
    r"RAM(32|64)X1D": Resources(memory_lut=2),
    r"RAM(32M|64M|128X1D)": Resources(memory_lut=4),
    r"RAM(32M16|64M8|256X1D)": Resources(memory_lut=8),
    r"SRL16E|SRLC32E": Resources(memory_lut=1),
    r"FD[RSCP]E": Resources(ff=1),
    r"CARRY4": Resources(carry=1),
    r"MUXF[789]|\$scopeinfo": Resources(),  # part of the LUTs' slices; only names
}


def resources(counts: Mapping[str, int]) -> Resources:
    """Totals of a cell count. Raises SynthesisError for a cell that has no column."""
    total = Resources()
    for cell, count in counts.items():
        each = next((each for pattern, each in _CELLS.items() if re.fullmatch(pattern, cell)), None)
        if each is None:
            raise SynthesisError(f"{count} cells of type {cell}: say in _CELLS what they count as")
        total = total.plus(each, count)
    return total


#: A Python program that runs the Yosys script named by its argument.
YOSYS_SCRIPT = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1]):
    libyosys.run_pass(line.strip(), design)
"""


def component_rtlil(component: Component) -> str:
    """RTLIL of a component as module ``unit``, without the millions of initial zeros of memories."""
    text = share_modules(rtlil.convert(component, name="unit", emit_src=False))
    zeros = r"(?m)^  cell \$meminit_v2 \S+\n(?:    .*\n)*    connect \\DATA \d+'0+\n(?:    .*\n)*  end\n"
    return re.sub(zeros, "", text)


def cells(text: str, synthesis: str, directory: Path) -> dict[str, int]:
    """Cell counts by cell type of ``text`` (`component_rtlil`), from the cache in ``directory`` if it is there.

    ``synthesis`` is the Yosys command. One column of the array is synthesised and counted as often as it is used.
    Everything else is flattened. Raises SynthesisError, which names the log.
    """
    synthesis += " -top unit -flatten"
    commands = [
        "setattr -mod -set keep_hierarchy 1 unit.*column_* unit.*column_*.* %d",
        f"{synthesis} -run begin:map_luts",
        "rename -hide w:*",  # names that the design gives collide with those that ABC's results get
        "opt_clean -purge",
        f"{synthesis} -run map_luts:",
    ]
    key = hashlib.sha256(json.dumps([text, commands, version("pyosys")]).encode()).hexdigest()[:20]
    found, log = directory / f"{key}.json", directory / f"{key}.log"
    if found.exists():
        return json.loads(found.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch, log.open("w") as output:
        source, script, statistics = (Path(scratch) / name for name in ("unit.il", "unit.ys", "statistics.json"))
        source.write_text(text)
        script.write_text("\n".join([f"read_rtlil {source}", *commands, f"tee -q -o {statistics} stat -json"]) + "\n")
        done = subprocess.run([sys.executable, "-c", YOSYS_SCRIPT, str(script)], stdout=output,
                              stderr=subprocess.STDOUT)
        # Yosys may stop inside ABC and still exit with 0: only the statistics say that it came to the end.
        try:
            counts = json.loads(statistics.read_text())["design"]["num_cells_by_type"]
        except (OSError, ValueError, KeyError) as error:
            raise SynthesisError(f"Yosys ended ({done.returncode}) without statistics: see the end of {log}") from error
        counts = {cell: count for cell, count in counts.items() if not cell.startswith("unit.")}  # modules
        complete = Path(scratch) / "counts.json"
        complete.write_text(json.dumps(counts))
        complete.rename(found)
    return counts
