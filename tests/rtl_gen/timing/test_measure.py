# SPDX-License-Identifier: Apache-2.0
"""Netlists from Yosys, source lines, the document and its page; a unit of the machine against the committed figures."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import typer
from amaranth import Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from moevit.cli.timing import _chosen
from moevit.hw.control.dispatch import Dispatch
from moevit.rtl_gen.synth import made
from moevit.rtl_gen.timing import mapped as mapping
from moevit.rtl_gen.timing.calibrate import Placed, calibration, placed_units, spearman
from moevit.rtl_gen.timing.classes import CLASSES, MARGIN, class_of
from moevit.rtl_gen.timing.document import merged, missing, read_document, write_document
from moevit.rtl_gen.timing.mapped import mapped, netlist_key
from moevit.rtl_gen.timing.measure import measure
from moevit.rtl_gen.timing.netlist import read_netlist, reduced
from moevit.rtl_gen.timing.report import report
from moevit.rtl_gen.timing.sources import Sources, plain_name
from moevit.rtl_gen.yosys import SynthesisError, component_rtlil

ROOT = Path(__file__).resolve().parents[3]
FIGURES = ROOT / "docs" / "timing.json"
PYNQ = class_of("pynq-z2", "16x16")
installed = pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed")


class Counter(Component):
    """A register that counts when it is smaller than the input, and a memory that keeps it."""

    i: In(8)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.kept = kept = Memory(shape=8, depth=16, init=[])
        read, write = kept.read_port(), kept.write_port()
        count = Signal(8)
        limit = Signal(8)
        m.d.sync += limit.eq(self.i)
        with m.If(count < limit):
            m.d.sync += count.eq(count + 1)
        m.d.comb += [write.addr.eq(count), write.data.eq(count), write.en.eq(1), read.addr.eq(count), read.en.eq(1),
                     self.o.eq(read.data)]
        return m


@installed
def test_netlist_of_a_component(tmp_path, monkeypatch):
    """Registers are called by their signals; what has not changed is not mapped again."""
    text = component_rtlil(Counter())
    netlist = read_netlist(mapped(text, PYNQ.target.synthesis, tmp_path))
    registers = {plain_name(cell.name, cell.kind) for cell in netlist.cells if cell.kind == "FDRE"}
    assert {"count", "limit"} <= registers
    assert "i" in netlist.inputs and "o" in netlist.outputs
    found = measure(netlist, PYNQ)
    assert found["paths"][0]["end"].startswith("count.") and found["paths"][0]["levels"] >= 1
    assert sum(found["histogram"]) == found["ends"] and not found["paths_over"]
    monkeypatch.setattr(mapping, "YOSYS_SCRIPT", "raise SystemExit('must not run')")
    assert measure(read_netlist(mapped(text, PYNQ.target.synthesis, tmp_path)), PYNQ) == found
    with pytest.raises(SynthesisError, match=rf"without a netlist: see the end of {tmp_path}"):
        mapped(text, PYNQ.target.synthesis + " -nodsp", tmp_path)


def test_source_lines():
    """A signal's own, below ``hw``; that of the component's maker for a library's."""
    sources = Sources(Dispatch())
    line = sources.line("reader.level")
    path, number = re.fullmatch(r"(hw/\S+):(\d+)", line).groups()
    assert (ROOT / path).read_text().splitlines()[int(number) - 1].strip()
    assert sources.line("nowhere.at_all") == ""


@pytest.mark.parametrize("name, kind, plain", [
    ("a.level[3]\\FDRE", "FDRE", "a.level"), ("\\$signal$5\\FDRE", "FDRE", "$signal$5"),
    ("a.storage.0.12", "RAM32M", "a.storage"), ("a.ahead_1[8]\\FDRE", "SRL16E", "a.ahead_1"),
    ("$flatten\\a.\\b.$438", "DSP48E1", "a.b: DSP48E1")])
def test_names(name, kind, plain):
    assert plain_name(name, kind) == plain


def test_what_timing_does_not_ask_for_is_left_out():
    cell = {"type": "RAMB18E1", "parameters": {"DOA_REG": "0" * 31 + "1", "INIT_00": "0" * 256, "RAM_MODE": "TDP "},
            "port_directions": {"DOADO": "output"}, "connections": {"DOADO": [7, "x"]}, "attributes": {"src": "a"}}
    kept = reduced({"cells": {"ram": cell}, "ports": {}, "netnames": {}})
    assert kept["cells"]["ram"]["parameters"] == {"DOA_REG": "1"}
    (ram,) = read_netlist(kept).cells
    assert ram.pins == {"DOADO": [7, None]} and ram.outputs == {"DOADO"}


def unit(name, ns=1.0, over=0, levels=2):
    path = {"start": "a", "start_line": "hw/a.py:1", "end": "b.D", "end_line": "", "ns": ns, "net_ns": 0.5, "levels": 2,
            "over": over, "cells": "FDRE LUT6"}
    return {"unit": name, "netlist": "0", "cells": 1, "ends": 1, "worst_ns": ns, "levels": levels, "limit_ns": 8.5,
            "slack_ns": 10 - ns, "paths_over": over, "levels_over": 0, "histogram": [1, 0, 0, 0, 0, 0], "paths": [path],
            "ports": {"ends": 1, "worst_ns": 2.0, "levels": 1, "paths_over": 0},
            "starts": [{"start": "a", "line": "hw/a.py:1", "over": over}] if over else []}


def test_document(tmp_path):
    """Units in the order of the class, the newest figures of each; what lacks is told."""
    path = tmp_path / "timing.json"
    document = read_document(path)
    for each in (unit("writer"), unit("compute"), unit("writer", 9.0, over=3)):
        document = merged(document, PYNQ, each)
    write_document(path, document)
    (entry,) = read_document(path)["classes"]
    assert (entry["board"], entry["config"], entry["clock_mhz"]) == ("pynq-z2", "16x16", 100)
    assert [(each["unit"], each["worst_ns"]) for each in entry["units"]] == [("compute", 1.0), ("writer", 9.0)]
    assert missing(document, PYNQ) == [name for name in PYNQ.units if name not in ("compute", "writer")]


def test_page_says_what_passes_what_not_and_what_is_missing():
    document = {"classes": [], "calibration": calibration(
        {"a": 1, "b": 2, "c": 3}, {"a": Placed(90, 2), "b": Placed(80, 6), "c": Placed(85, 2)})}
    for each in (unit("compute"), unit("writer", 9.0, over=3, levels=7)):
        document = merged(document, PYNQ, each)
    page = report(document)
    assert "| pynq-z2 | 16x16 | 7-series -1 | 100 MHz | 8.50 ns | `compute` | `writer` 9.00 ns | `reader`, " in page
    assert "no: 0.50 ns too long, 2 levels too many" in page
    assert "| `writer` | `a` | hw/a.py:1 | 3 |" in page
    assert "correlation over 3 units is **0.50**. The slowest placed path of `b` runs" in page
    assert "Over the other 2 units the correlation is not known" in page


def test_rank_correlation():
    assert spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [9, 5, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2], [1, 1, 2]) == pytest.approx(1)
    page = (ROOT / "docs" / "ecp5.md").read_text()
    assert {"reader", "writer", "compute", "controller"} <= set(placed_units(page))
    row = "| `reader` | 108.6 | 2 | 9,481 | 8,508 | 37 | 12 | `a.b` to `c` | 2.2 | 7.0 |\n"
    assert placed_units("| unit | MHz |\n" + row) == {"reader": Placed(108.6, 2.2)}


def test_clocks_and_limits():
    clocks = {kind.board: kind.clock_mhz for kind in CLASSES}
    assert clocks == {"zcu102": 225, "zcu104": 225, "kv260": 200, "ultra96v2": 200, "pynq-z2": 100}
    assert PYNQ.limit_ns == pytest.approx(10 * (1 - MARGIN))


def test_what_is_chosen():
    assert [(kind.board, name) for kind, name in _chosen(["kv260"], ["dispatch"])] == [("kv260", "dispatch")]
    assert len(_chosen([], [])) == sum(len(kind.units) for kind in CLASSES)
    for boards, names, wrong in ((["z9"], [], "no board is called z9"), ([], ["top2"], "no unit is called top2"),
                                 (["kv260"], ["top"], "no chosen board has a chosen unit")):
        with pytest.raises(typer.BadParameter, match=wrong):
            _chosen(boards, names)


@pytest.mark.skipif(not FIGURES.exists(), reason="nothing was measured")
def test_committed_page_is_that_of_the_committed_figures():
    page = (ROOT / "docs" / "timing.md").read_text()
    tools = re.search(r"\(pyosys [\d.]+\)", page).group()
    assert re.sub(r"\(pyosys [\d.]+\)", tools, report(json.loads(FIGURES.read_text()))) == page, \
        "run `moevit timing --only-page`"


@installed
def test_a_unit_is_no_slower_than_committed(tmp_path):
    """A longer path in this unit turns red here; with a reason for it, measure again by ``moevit timing``."""
    document = json.loads(FIGURES.read_text())
    name = "write_master"
    before = next(each for entry in document["classes"] if entry["board"] == PYNQ.board
                  for each in entry["units"] if each["unit"] == name)
    component = made(name, PYNQ.target.config)
    found = measure(read_netlist(mapped(component_rtlil(component), PYNQ.target.synthesis, tmp_path)), PYNQ)
    assert found["worst_ns"] <= before["worst_ns"] + 0.05
    assert found["levels"] <= before["levels"] and found["paths_over"] <= before["paths_over"]


def test_the_key_knows_the_commands():
    text = "module"
    assert netlist_key(text, "synth_xilinx -family xc7") != netlist_key(text, "synth_xilinx -family xcup")
