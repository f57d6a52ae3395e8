# SPDX-License-Identifier: Apache-2.0
"""The area report: all units of the machine, their sum, and the committed document."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from amaranth.back import rtlil
from amaranth.hdl import Fragment

from moevit.cli.synth import _chosen
from moevit.hw.array.compute import Compute
from moevit.hw.top import Core
from moevit.rtl_gen.area import TOP, folded, report
from moevit.rtl_gen.synth import UNITS, units
from moevit.rtl_gen.targets import TARGETS, Target
from moevit.rtl_gen.yosys import Resources
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "area.md"


def test_units_are_those_of_the_machine():
    machine, narrow = (Fragment.get(Core(CONFIGS[name]), None) for name in ("8x16", "8x8"))
    assert {name for _, name, _ in machine.subfragments} == set(UNITS)
    assert {name for _, name, _ in narrow.subfragments} == set(units(CONFIGS["8x8"]))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dsp48e1", [False, True])
def test_folded_registers_are_in_the_design(packed, dsp48e1):
    config = replace(CONFIGS["8x8"], packed=packed, dsp48e1=dsp48e1)
    text = rtlil.convert(Compute(config), emit_src=False)
    registers = 0
    for lane in re.findall(r"(?ms)^module \S+\.lane$.*?^end$", text):
        for width in re.findall(r"wire width (\d+) (?:signed )?\\(?:active|held|packed|product|chain)_\d+_?\d*$", lane,
                                re.MULTILINE):
            registers += int(width)
    assert registers == folded(config)


def test_every_class_is_a_target():
    assert {target.board.name: target.config.name for target in TARGETS[:len(BOARDS)]} == {
        name: board.config for name, board in BOARDS.items()}


@pytest.mark.parametrize("name, options", [
    ("pynq-z2", "-family xc7"), ("zcu102", "-family xcup"), ("kv260", "-family xcup -uram")])
def test_a_board_s_family(name, options):
    target = Target(BOARDS[name], CONFIGS["8x8"])
    assert target.synthesis == f"synth_xilinx {options} -noiopad -noclkbuf"


def test_report_adds_up():
    target = Target(BOARDS["pynq-z2"], CONFIGS["16x16"])
    counts = {unit: Resources(dsp=10, bram=0.5, lut=1000, memory_lut=64, ff=2128) for unit in UNITS}
    text = report([target], {target.name: counts | {TOP: Resources(dsp=99)}})
    units = len(UNITS)
    assert f"| **all** | {10 * units} | {_number(units / 2)} | 0 | {1000 * units:,} |" in text
    assert "| the whole at once | 99 |" in text
    assert f"outside the array: {10 * units - 10}, {100 * (units - 1)} %" in text
    assert (f"| pynq-z2 | 16x16 | {10 * units} of 220, {100 * 10 * units / 220:.0f} % | {_number(units / 2)} of 140, "
            f"{units / 2.8:.0f} % | 0 of 0 | {1064 * units:,} of 53,200, {2 * units} % | {2128 * units:,} of 106,400, "
            f"{2 * units} % |") in text


def _number(value):
    return f"{value:g}"


def test_committed_document_has_every_unit_of_every_class():
    """Or says which are missing."""
    text = DOCUMENT.read_text()
    missing = "".join(re.findall(r"(?m)^\*\*Not counted this time:\*\* (.*)\.$", text)).split(", ")
    for target in TARGETS:
        if target.name in missing:
            continue
        table = text.split(f"## {target.name}, {target.family}")[1].split("##")[0]
        assert re.findall(r"(?m)^\| `(\w+)` \|", table) == list(units(target.config))
        whole = target.whole and f"the whole of {target.name} at once" not in missing
        assert ("| the whole at once |" in table) == whole


def test_what_is_left_out_is_said():
    chosen, left_out = _chosen(["kv260"], [], False)
    assert [(target.name, target.whole) for target in chosen] == [("32x32 for kv260", False)]
    assert "64x64 for zcu102" in left_out and "the whole of 32x32 for kv260 at once" in left_out
    assert _chosen([], [], True) == (list(TARGETS), [])
    assert [target.name for target in _chosen(["zcu104"], ["32x64_long"], True)[0]] == ["32x64_long for zcu104"]
    for board, config, wrong in (("z9", "32x64", "no board is called z9"),
                                 ("zcu104", "7x7", "no configuration is called 7x7"),
                                 ("kv260", "64x64", "no target has both")):
        with pytest.raises(typer.BadParameter, match=wrong):
            _chosen([board], [config], True)
    counts = {unit: Resources(dsp=1) for unit in UNITS}
    text = report(chosen, {chosen[0].name: counts}, left_out)
    assert f"**Not counted this time:** {', '.join(left_out)}.\n\n| board |" in text
