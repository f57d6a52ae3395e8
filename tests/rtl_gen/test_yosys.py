# SPDX-License-Identifier: Apache-2.0
"""Cell counts of components whose counts are known; modules that are shared; a Yosys that stops."""

import importlib.util

import pytest
from amaranth import Module, Signal, signed
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from moevit.rtl_gen import yosys
from moevit.rtl_gen.share import share_modules
from moevit.rtl_gen.yosys import Resources, SynthesisError, cells, component_rtlil, resources

SYNTHESIS = "synth_xilinx -family xcup -noiopad -noclkbuf"
installed = pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed")


class Multiply(Component):
    """``o = a x b``, registered; ``extra`` makes a module of its own."""

    a: In(signed(9))
    b: In(signed(9))
    o: Out(signed(18))

    def __init__(self, extra: bool = False):
        self.extra = extra
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(18))
        m.d.sync += product.eq(self.a * self.b)
        m.d.comb += self.o.eq(~product if self.extra else product)
        return m


class Columns(Component):
    """Three equal multipliers, another one, and a memory."""

    a: In(signed(9))
    b: In(signed(9))
    address: In(9)
    o: Out(72)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=72, depth=512, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [read.addr.eq(self.address), read.en.eq(1), self.o.eq(read.data), write.addr.eq(self.address)]
        m.d.comb += write.en.eq(1)
        for index in range(4):
            m.submodules[f"column_{index}"] = lane = Multiply(extra=index == 3)
            m.d.comb += [lane.a.eq(self.a + index), lane.b.eq(self.b), write.data.word_select(index, 18).eq(lane.o)]
        return m


class Table(Component):
    """A memory with contents."""

    address: In(4)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=16, init=range(16))
        read = memory.read_port()
        m.d.comb += [read.addr.eq(self.address), read.en.eq(1), self.o.eq(read.data)]
        return m


def test_resources_adds_up_what_each_cell_stands_for():
    counts = {"DSP48E2": 3, "RAMB36E2": 2, "RAMB18E2": 1, "URAM288": 4, "LUT6": 10, "LUT1": 1, "INV": 2, "RAM32M16": 2,
              "SRL16E": 5, "FDRE": 7, "FDSE": 1, "CARRY4": 6, "MUXF7": 9, "$scopeinfo": 3}
    assert resources(counts) == Resources(dsp=3, bram=2.5, uram=4, lut=13, memory_lut=21, ff=8, carry=6)


def test_a_cell_that_no_column_stands_for():
    with pytest.raises(SynthesisError, match="2 cells of type LDCE"):
        resources({"LUT2": 1, "LDCE": 2})


def test_modules_alike_are_shared():
    text = component_rtlil(Columns())
    assert text.count("\nmodule \\unit.column_") == 2
    assert text.count("cell \\unit.column_0 \\column_") == 3
    assert text.count("cell \\unit.column_3 \\column_3") == 1
    assert share_modules(text) == text
    assert text.count("attribute \\generator ") == text.count("\nmodule "), "attributes of modules that are gone"


def test_only_zeros_are_left_out():
    assert "$meminit_v2" not in component_rtlil(Columns())
    assert "$meminit_v2" in component_rtlil(Table())


@installed
def test_counts_with_and_without_sharing(tmp_path):
    """A column counts as often as it is used, and its memory is one block RAM."""
    counts = resources(cells(component_rtlil(Columns()), SYNTHESIS, tmp_path))
    assert (counts.dsp, counts.bram) == (4, 1)
    assert counts.ff == 4 * 18


@installed
def test_cache(tmp_path, monkeypatch):
    text = component_rtlil(Multiply())
    first = cells(text, SYNTHESIS, tmp_path)
    assert first["DSP48E2"] == 1
    monkeypatch.setattr(yosys, "YOSYS_SCRIPT", "raise SystemExit('must not run')")
    assert cells(text, SYNTHESIS, tmp_path) == first
    with pytest.raises(SynthesisError):
        cells(text, SYNTHESIS + " -nodsp", tmp_path)


def test_yosys_that_stops_silently(tmp_path, monkeypatch):
    """Exit code 0 and no statistics, as when ABC dies."""
    monkeypatch.setattr(yosys, "YOSYS_SCRIPT", "")
    monkeypatch.setattr(yosys, "version", lambda package: "0")
    with pytest.raises(SynthesisError, match=rf"\(0\) without statistics: see the end of {tmp_path}"):
        cells(component_rtlil(Multiply()), SYNTHESIS, tmp_path)
    assert not list(tmp_path.glob("*.json"))
