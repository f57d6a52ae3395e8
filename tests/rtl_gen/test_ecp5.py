# SPDX-License-Identifier: Apache-2.0
"""Placing and routing by the open tools, and the figures from nextpnr's report."""

from datetime import date
from pathlib import Path

import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, In, Out

from moevit.rtl_gen.ecp5 import Place, place, report
from moevit.spec.registers import VERSION

ROOT = Path(__file__).resolve().parents[2]


class Square(Component):
    """A registered product: one multiplier, 16 registers."""

    a: In(8)
    o: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a * self.a)
        return m


@pytest.mark.slow
def test_place():
    folder = ROOT / "build" / "test_ecp5"  # the tools run in a sandbox that does not see our /tmp
    found = place(Square(), folder, pack=True)
    assert found.cells["MULT18X18D"] == 1 and found.cells["TRELLIS_FF"] >= 8 + 16
    assert 20 < found.mhz < 1000 and found.logic_ns + found.routing_ns <= 1e3 / found.mhz + 0.1
    assert (folder / "unit.bit").stat().st_size > 100_000
    again = place(Square(), folder, pack=True)
    assert again == found, "from what was kept"


def test_report():
    text = report({"writer": Place(101.25, {"TRELLIS_COMB": 1234, "MULT18X18D": 3},
                                   ["unit.a.b_TRELLIS_FF_Q_6", "unit.c_LUT4_Z"], 2.5, 4.25, 2)}, date(2026, 11, 26))
    assert "| `writer` | 101.2 | 2 | 1,234 | 0 | 3 | 0 | `a.b` to `c` | 2.5 | 4.2 |" in text
    assert f"Measured on 2026-11-26 on hardware version {VERSION >> 24}.{VERSION >> 16 & 255}." in text
