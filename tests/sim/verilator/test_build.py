# SPDX-License-Identifier: Apache-2.0
"""Builds: cache, errors, missing tools; the runner of cocotb modules."""

import os
import shutil
from pathlib import Path

import pytest

from moevit.host.errors import SimulationError
from moevit.rtl_gen.generate import generate
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator import tools
from moevit.sim.verilator.build import BuildFailed, build, tail
from moevit.sim.verilator.cocotb_run import CocotbFailed, run_cocotb
from moevit.sim.verilator.tools import ToolMissing, build_root, find_tools
from moevit.spec.arrays import CONFIGS

from ..example import CopyMachine

pytestmark = pytest.mark.timeout(300)
HERE = Path(__file__).parent
ADDER = """
module adder (input wire clk, input wire [7:0] a, output reg [7:0] b);
    always @(posedge clk) b <= a + 8'd1;
endmodule
"""


def test_a_build_is_kept(tmp_path, monkeypatch):
    for ready in (build_root() / "sim").glob("runtime-*"):  # compiled by the simulations before, if there were any
        shutil.copytree(ready, tmp_path / ready.name)
    first = build({"adder.v": ADDER}, "adder", ["a"], root=tmp_path)
    assert os.access(first.program, os.X_OK)
    stamp = first.program.stat().st_mtime_ns
    monkeypatch.setattr("subprocess.run", None)  # nothing may be started
    again = build({"adder.v": ADDER}, "adder", ["a"], root=tmp_path)
    assert again == first and again.program.stat().st_mtime_ns == stamp
    monkeypatch.undo()
    assert all((ready / "verilated.o").exists() for ready in tmp_path.glob("runtime-*"))
    other = build({"adder.v": ADDER.replace("8'd1", "8'd2")}, "adder", ["a"], root=tmp_path)
    assert other.directory != first.directory
    assert "verilated.cpp" not in (other.directory / "build.log").read_text()
    assert not list(tmp_path.glob("*.o")) and not list(first.directory.glob("*.o"))


@pytest.mark.parametrize("text, message", [
    (ADDER.replace("a + ", "wrong + "), "adder.v:3.*wrong"),
    (ADDER.replace("8'd1", "4'd1"), "WIDTHEXPAND"),
])
def test_what_verilator_refuses_is_told(tmp_path, text, message):
    with pytest.raises(BuildFailed, match=f"(?s)building adder.*{message}") as caught:
        build({"adder.v": text}, "adder", ["a"], root=tmp_path)
    assert Path(caught.value.state["log"]).exists()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_what_the_compiler_refuses_is_told(tmp_path):
    native = tmp_path / "broken.cpp"
    native.write_text("int broken() { return missing; }\n")
    with pytest.raises(BuildFailed, match="(?s)make stopped.*missing"):
        build({"adder.v": ADDER}, "adder", ["a"], native=[native], root=tmp_path)


def test_a_folder_with_a_space_is_refused(tmp_path):
    with pytest.raises(BuildFailed, match="space"):
        build({"adder.v": ADDER}, "adder", ["a"], root=tmp_path / "a b")


def test_a_space_is_refused_before_anything_is_generated(tmp_path, monkeypatch):
    monkeypatch.setattr("moevit.sim.board.simulated_board.machine_bench", None)
    with pytest.raises(BuildFailed, match="'.*a b', which has a space. Move the checkout"):
        SimulatedBoard(CONFIGS["8x8"], build_root=tmp_path / "a b")
    monkeypatch.setattr("sys.executable", "/my tools/python")
    with pytest.raises(BuildFailed, match="/my tools/python', which has a space. Make the environment elsewhere"):
        SimulatedBoard(CONFIGS["8x8"], build_root=tmp_path)


#: What users have set for simulations and builds of their own; each breaks ours if it reaches them.
THEIRS = {"COCOTB_TEST_FILTER": "foo", "COCOTB_TESTCASE": "foo", "COCOTB_TEST_MODULES": "foo", "COCOTB_TOPLEVEL": "foo",
          "GPI_USERS": "foo", "GPI_EXTRA": "foo", "LIBPYTHON_LOC": "/none", "MAKEFLAGS": "--no-such-flag", "MAKEFILES":
          "/none/such.mk", "CXXFLAGS": "--no-such-flag", "CPPFLAGS": "--no-such-flag", "LDFLAGS": "--no-such-flag",
          "VM_TRACE": "1", "OPT_FAST": "--no-such-flag", "VERILATOR_ROOT": "/none"}


def test_the_users_variables_reach_neither_build_nor_simulation(tmp_path, monkeypatch, rtl):
    for name, value in THEIRS.items():
        monkeypatch.setenv(name, value)
    assert run_cocotb(rtl, HERE / "copy_bench.py", environment={"PAUSE": "0"}, build_root=tmp_path) == 2


def test_waves_need_a_build_with_waves(tmp_path):
    with pytest.raises(ValueError, match="without waves"):
        build({"adder.v": ADDER}, "adder", ["a"]).command({}, tmp_path / "x.vcd")


@pytest.fixture
def fresh():
    find_tools.cache_clear()
    yield
    find_tools.cache_clear()


@pytest.mark.parametrize("missing", ["g++", "make"])
def test_a_missing_program_is_named(monkeypatch, fresh, missing):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda program: None if program == missing else which(program))
    with pytest.raises(ToolMissing, match=rf"{missing.replace('+', '.')} is not installed. .*apt install"):
        find_tools()


@pytest.mark.parametrize("printed, error", [(None, "not installed"), ("Verilator 5.006 2023-01-22", "5.036 or later")])
def test_verilator_missing_or_old(monkeypatch, fresh, printed, error):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda program: which(program) if program != "verilator" else
                        printed and "/usr/bin/verilator")
    output = tools._output
    monkeypatch.setattr(tools, "_output", lambda *command: printed if "--version" in command else output(*command))
    with pytest.raises(ToolMissing, match=error):
        find_tools()


def test_tail(tmp_path):
    path = tmp_path / "log"
    assert tail(path) == "(no log)"
    path.write_text("one\ntwo\n" + "x" * 1000)
    assert tail(path, 2).splitlines() == ["two", "x" * 300]


@pytest.fixture(scope="module")
def rtl():
    return generate(CopyMachine(16), "copy")


@pytest.mark.parametrize("pause, seed", [(0.0, 1), (0.5, 2), (0.8, 3)])
def test_cocotb_module(rtl, pause, seed):
    assert run_cocotb(rtl, HERE / "copy_bench.py", seed=seed, environment={"PAUSE": str(pause)}) == 2


def test_a_failing_cocotb_test_fails(rtl):
    with pytest.raises(CocotbFailed, match="(?s)1 of 2 tests.*as asked"):
        run_cocotb(rtl, HERE / "copy_bench.py", environment={"PAUSE": "0", "FAIL": "1"})


def test_no_results_is_an_error(rtl):
    with pytest.raises(SimulationError, match="no results"):
        run_cocotb(rtl, "no.such.module")
