# SPDX-License-Identifier: Apache-2.0
"""The area report: all units of the machine, their sum, and the committed document."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Fragment

from moevit.hw.array.compute import Compute
from moevit.hw.array.lane import DSP48E1, DSP48E2
from moevit.hw.top import Accelerator
from moevit.rtl_gen.synth import FAMILIES, UNITS, folded, report
from moevit.rtl_gen.yosys import Resources
from moevit.spec.arrays import CONFIGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "area.md"


def test_units_are_those_of_the_machine():
    machine, narrow = (Fragment.get(Accelerator(CONFIGS[name]), None) for name in ("8x16", "8x8"))
    assert {name for _, name, _ in machine.subfragments} == set(UNITS)
    assert {name for _, name, _ in narrow.subfragments} == set(UNITS) - {"spread_read", "spread_write"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("packing", [DSP48E1, DSP48E2])
def test_folded_registers_are_in_the_design(packed, packing):
    config = replace(CONFIGS["8x8"], packed=packed)
    text = rtlil.convert(Compute(config, packing), emit_src=False)
    registers = 0
    for lane in re.findall(r"(?ms)^module \S+\.lane$.*?^end$", text):
        for width in re.findall(r"wire width (\d+) (?:signed )?\\(?:active|held|packed|product|chain)_\d+_?\d*$", lane,
                                re.MULTILINE):
            registers += int(width)
    assert registers == folded(config, packing)


def test_report_adds_up():
    counts = {(family.title, name): {unit: Resources(dsp=10, bram=0.5) for unit in UNITS}
              for family in FAMILIES for name in family.configs}
    text = report(counts)
    assert text.count(f"| **all** | {10 * len(UNITS)} | {len(UNITS) // 2} | 0 |") == 3
    assert f"outside the array: {10 * len(UNITS) - 10}, {100 * (len(UNITS) - 1)} %" in text
    assert text.count("| `router` | 10 | 0.5 |") == 3


def test_committed_document_has_every_unit_of_every_configuration():
    text = DOCUMENT.read_text()
    for family in FAMILIES:
        for name in family.configs:
            table = text.split(f"## {name}, {family.title}")[1].split("##")[0]
            assert re.findall(r"(?m)^\| `(\w+)` \|", table) == list(UNITS)
