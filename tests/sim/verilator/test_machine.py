# SPDX-License-Identifier: Apache-2.0
"""The machine's testbench is generated once per state of the sources."""

import pytest

from moevit.rtl_gen.generate import generate
from moevit.sim.verilator import machine
from moevit.sim.verilator import testbench as around
from moevit.spec.arrays import CONFIGS

from ..example import CopyMachine


def test_generated_once(monkeypatch, tmp_path):
    made = []

    def fake(config, trace):
        made.append((config.name, trace))
        return generate(CopyMachine(8, trace=trace), "copy")

    monkeypatch.setattr(machine, "machine_rtl", fake)
    first = machine.machine_bench(CONFIGS["8x8"], trace=True, root=tmp_path)
    assert machine.machine_bench(CONFIGS["8x8"], trace=True, root=tmp_path) == first
    assert first.trace_bytes == 15
    assert machine.machine_bench(CONFIGS["8x8"], trace=False, root=tmp_path).trace_bytes == 0
    assert made == [("8x8", True), ("8x8", False)]
    source = tmp_path / "unit.py"
    source.write_text("changed")
    sources = machine._sources()
    monkeypatch.setattr(machine, "_sources", lambda: [*sources, source])
    machine.machine_bench(CONFIGS["8x8"], trace=True, root=tmp_path)
    assert len(made) == 3


def test_sources_are_those_that_the_verilog_depends_on():
    names = {path.as_posix().split("/moevit/")[-1] for path in machine._sources()}
    for name in ("hw/top.py", "hw/bus/axi.py", "spec/registers.py", "rtl_gen/wrapper.py", "sim/verilator/memory.sv"):
        assert any(path.endswith(name) for path in names), name


def test_testbench_without_trace():
    text = around.testbench(generate(CopyMachine(8, trace=False), "copy"))
    assert f"module {around.TOP} (" in text
    assert "trace_write" not in text


def test_odd_traces_are_refused():
    rtl = generate(CopyMachine(8), "copy")
    rtl.table.traces[0] = type(rtl.table.traces[0])("trace", 77)
    with pytest.raises(ValueError, match="77"):
        around.testbench(rtl)
