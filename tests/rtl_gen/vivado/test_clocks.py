# SPDX-License-Identifier: Apache-2.0
"""The clock of a build: the one asked for, or the fastest lower one that closes, with a stand-in for Vivado."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from moevit.rtl_gen.vivado.clocks import CLOCKS_MHZ, attempts, clocks
from moevit.rtl_gen.vivado.exits import ExitCode, VivadoError
from moevit.spec.ip import handoff_clock

from .conftest import events
from .test_build import published

ROOT = Path(__file__).resolve().parents[3]
IMPLEMENTATION = ("launch_runs", "reset_run", "create_clock", "open_bd_design", "generate_target", "write_bitstream")


def happened(out, *kinds):
    return [event for event in events(out / "work") if event[0] in kinds]


def test_the_steps_begin_with_the_clock_asked_for():
    assert clocks(300) == ["300", "250", "225", "200", "175", "150", "125", "100"]
    assert clocks(142) == ["142", "125", "100"] and clocks(100) == ["100"] and clocks(62.5) == ["62.5"]
    assert clocks(400)[:2] == ["400", "300"] and list(CLOCKS_MHZ) == sorted(CLOCKS_MHZ, reverse=True)


def test_closes_at_the_clock_asked_for(run, tmp_path):
    """As a build without steps: no further run, no constraint of ours, the block design is generated once."""
    out = tmp_path / "out"
    code, output = run("--clock", "250", STUB_DELAY="3.9")
    assert code == 0, output
    report = json.loads((out / "build.json").read_text())
    assert (report["clock_mhz_asked"], report["clock_mhz_closed"], report["clock_mhz"]) == (250, 250, "249.997")
    assert report["tried"] == [{"asked": 250, "reached": 249.997, "wns": 0.1, "whs": 0.043}]
    assert output.endswith("moevit_zcu104.bit, .hwh for 250 MHz (249.997 reached)")
    assert happened(out, *IMPLEMENTATION) == [["generate_target"], ["launch_runs", "synth_1"],
                                              ["launch_runs", "impl_1"], ["write_bitstream"]]
    assert not list((out / "reports").glob("timing_*"))


def test_closes_at_the_third_clock(run, tmp_path):
    """300, 250 and 225 MHz are tried. The dividers reach 214.284 for the last. The netlist is synthesised once."""
    out = tmp_path / "out"
    code, output = run(STUB_DELAY="4.1")
    assert code == 0, output
    report = json.loads((out / "build.json").read_text())
    assert (report["clock_mhz_asked"], report["clock_mhz_closed"], report["clock_mhz"]) == (300, 225, "214.284")
    assert [each["asked"] for each in report["tried"]] == [300, 250, 225]
    assert [each["wns"] for each in report["tried"]] == [-0.767, -0.1, 0.567] and report["wns"] == "0.567"
    assert output.endswith(".hwh for 225 MHz (214.284 reached); timing did not close at 300, 250 MHz")
    source = "PIN/clk_pl_0[0]"
    assert happened(out, *IMPLEMENTATION) == [
        ["generate_target"], ["launch_runs", "synth_1"], ["launch_runs", "impl_1"],
        ["reset_run", "impl_1"], ["create_clock", "clk_pl_0", "4.000", source], ["launch_runs", "impl_1"],
        ["reset_run", "impl_1"], ["create_clock", "clk_pl_0", "4.667", source], ["launch_runs", "impl_1"],
        ["write_bitstream"], ["open_bd_design", "moevit_zcu104.bd"], ["generate_target"]]
    assert handoff_clock(ElementTree.parse(out / "moevit_zcu104.hwh").getroot()) == 214.284
    lines = (out / "reports" / "clocks.txt").read_text().splitlines()
    assert lines[1:] == ["-0.1 ns (setup), 0.043 ns (hold) at 250 MHz (249.997 MHz reached): not met",
                         "0.567 ns (setup), 0.043 ns (hold) at 225 MHz (214.284 MHz reached): met"]
    assert {path.name for path in (out / "reports").glob("timing*")} == {
        "timing.rpt", "timing_300MHz.rpt", "timing_250MHz.rpt"}
    count = len(events(out / "work"))
    assert run(STUB_DELAY="4.1")[1].endswith("timing did not close at 300, 250 MHz")  # finished: nothing is run again
    assert len(events(out / "work")) == count
    assert run("--clock", "200", STUB_DELAY="4.1")[0] == 0
    assert not list((out / "reports").glob("timing_*")) and len((out / "reports" / "clocks.txt").read_text()) < 100


def test_a_zynq_7000_has_another_clock(run, tmp_path):
    assert run(board="pynq-z2", STUB_DELAY="7.5")[0] == 0
    out = tmp_path / "out"
    assert happened(out, "create_clock") == [["create_clock", "clk_fpga_0", "8.000", "PIN/clk_fpga_0[0]"]]
    assert handoff_clock(ElementTree.parse(out / "moevit_pynq_z2.hwh").getroot()) == 125


def test_never_closes(run, tmp_path):
    out = tmp_path / "out"
    assert run()[0] == 0
    code, output = run("--clock", "150", STUB_DELAY="10.5")
    assert code == ExitCode.TIMING and not published(out)
    assert "timing is not met: worst slack -3.833 ns (setup), 0.043 ns (hold) at 150 MHz; " in output
    assert "-2.5 ns (setup), 0.043 ns (hold) at 125 MHz; -0.5 ns (setup), 0.043 ns (hold) at 100 MHz" in output
    assert "No bitstream was written" in output
    assert (out / "reports" / "timing_100MHz.rpt").exists() and not list((out / "work").glob("*.bit"))


def test_a_step_that_the_dividers_do_not_reach_is_skipped(run, tmp_path):
    """They reach 214.284 MHz for 206 and for 200: nothing new."""
    code, output = run("--clock", "206", STUB_DELAY="5.2")
    assert code == 0, output
    tried = json.loads((tmp_path / "out" / "build.json").read_text())["tried"]
    assert [(each["asked"], each["reached"]) for each in tried] == [(206, 214.284), (175, 166.665)]
    code, output = run("--clock", "310", STUB_DELAY="3.9")
    tried = json.loads((tmp_path / "out" / "build.json").read_text())["tried"]
    assert [each["asked"] for each in tried] == [310, 250]  # 300 reaches what 310 does


def test_a_constraint_that_does_not_reach_the_design_ends_the_build(run, tmp_path):
    code, output = run(STUB_DELAY="3.9", STUB_FAULT="constraint")
    assert code == ExitCode.SCRIPT and not published(tmp_path / "out")
    assert "clock clk_pl_0 has a period of 3.333 ns, not that of 249.997 MHz" in output


def test_out_of_context(run, tmp_path):
    out = tmp_path / "out"
    code, output = run(verb="ooc", STUB_DELAY="4.1")
    assert code == 0 and output.endswith("ooc.json for 225 MHz (225 reached); timing did not close at 300, 250 MHz")
    assert [event[2] for event in happened(out, "create_clock")] == ["3.333", "4.000", "4.444"]
    assert len(happened(out, "synth_design")) == 2  # the probe's and ours
    assert len(happened(out, "open_checkpoint")) == len(happened(out, "route_design")) == 3
    code, output = run("--clock", "125", verb="ooc", STUB_DELAY="11")
    assert code == ExitCode.TIMING and "-3.0 ns (setup) at 125 MHz; -1.0 ns (setup) at 100 MHz" in output
    assert not published(out)


@pytest.mark.parametrize("wrong", ["0", "-100", "9", "501", "nan", "inf", "fast", ""])
@pytest.mark.parametrize("verb", ["bitstream", "ooc", "vivado"])
def test_an_illegal_clock_is_refused_first(run, tmp_path, verb, wrong):
    code, output = run("--clock", wrong, verb=verb)
    assert code == 2 and "--clock" in output and not (tmp_path / "out").exists()


def test_the_folder_for_another_computer_has_the_clock(run, tmp_path):
    assert run("--clock", "187.5", verb="vivado")[0] == 0
    assert "dict set settings clocks {187.5 175 150 125 100}\n" in (tmp_path / "out" / "settings.tcl").read_text()
    assert "-period 5.333 " in (tmp_path / "out" / "ooc.xdc").read_text()


@pytest.mark.parametrize("text, code", [
    ("asked 300 reached 300 wns -0.1 whs 0.1", ExitCode.TIMING), ("asked 300 reached 300 wns nan", ExitCode.TIMING),
    ("asked 300 reached 300 wns x", ExitCode.NO_ARTEFACT), ("asked 300 reached", ExitCode.NO_ARTEFACT)])
def test_results_are_not_believed_unseen(text, code):
    with pytest.raises(VivadoError) as refused:
        attempts(text)
    assert refused.value.code == code


def test_scripts_need_no_newer_tcl_than_vivado_has():
    """Vivado's interpreter is Tcl 8.5 in some versions."""
    for path in (ROOT / "rtl_gen" / "vivado" / "tcl").glob("*.tcl"):
        code = re.sub(r"(?m)^\s*#.*$", "", path.read_text())
        assert not re.search(r"\b(lmap|dict map|dict filter|string cat|try|tailcall|throw)\b", code), path


def test_the_page_lists_the_steps():
    text = (ROOT / "docs" / "vivado.md").read_text()
    assert ", ".join(map(str, CLOCKS_MHZ)) in text
