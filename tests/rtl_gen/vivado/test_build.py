# SPDX-License-Identifier: Apache-2.0
"""The command from end to end with a stand-in for Vivado: its files, and the end of each failure."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moevit.rtl_gen.hwh import handoff
from moevit.rtl_gen.vivado import preflight
from moevit.rtl_gen.vivado.bitfile import check_hwh
from moevit.rtl_gen.vivado.boards import BOARD_DATA
from moevit.rtl_gen.vivado.build import Build
from moevit.rtl_gen.vivado.exits import ExitCode, VivadoError
from moevit.rtl_gen.vivado.logs import diagnose
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS

from .conftest import bare_rtl, events

ROOT = Path(__file__).resolve().parents[3]


def published(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix in (".bit", ".hwh", ".json"))


def test_a_build(run, tmp_path):
    code, output = run()
    assert code == 0, output
    assert "version 2024.2" in output and "xilinx.com:zcu104:part0:1.1" in output and "0.043" in output
    assert "Vivado: block design" in output or "Vivado: bitstream" in output
    out = tmp_path / "out"
    assert published(out) == ["build.json", "moevit_zcu104.bit", "moevit_zcu104.hwh"]
    report = json.loads((out / "build.json").read_text())
    for name in ("moevit_zcu104.bit", "moevit_zcu104.hwh"):
        assert report["sha256"][name] == hashlib.sha256((out / name).read_bytes()).hexdigest()
    assert report["version"] == "2024.2" and "done" not in report
    assert report["part"] == "xczu7ev-ffvc1156-2-e" and report["config"] == "32x64"
    assert (report["wns"], report["whs"], report["clock_mhz"]) == ("0.043", "0.043", "299.997")
    assert report["utilisation"] == {"lut": 12345, "bram36": 101.5, "dsp": 512}
    assert [event[1] for event in events(out / "work") if event[0] == "source"] == [
        "probe.tcl", "package_ip.tcl", "build.tcl"]
    assert (out / "reports" / "timing.rpt").exists()


def test_a_finished_build_is_not_built_again(run, tmp_path):
    out = tmp_path / "out"
    assert run()[0] == 0
    count = len(events(out / "work"))
    assert run()[0] == 0 and len(events(out / "work")) == count
    (out / "moevit_zcu104.bit").write_bytes(b"")  # damaged since
    assert run()[0] == 0 and len(events(out / "work")) > count
    assert (out / "moevit_zcu104.bit").stat().st_size > 100


def test_a_folder_has_one_build_at_a_time(run, tmp_path):
    with Build(tmp_path / "out", BOARDS["zcu104"], CONFIGS["32x64"], bare_rtl("32x64")).written():
        code, output = run()
        assert code == ExitCode.PATH and "another build is at work in" in output
        assert not (tmp_path / "out" / "work").exists()
    assert run()[0] == 0


def test_multipliers_too_wide_for_the_part(run, tmp_path):
    code, output = run("--config", "8x8", board="pynq-z2")
    assert code == ExitCode.DOES_NOT_FIT and "27 x 18 bits, pynq-z2 has 25 x 18" in output
    assert not (tmp_path / "out").exists()
    assert run("--config", "8x8", board="ultra96v2")[0] == 0


FAULTS = {
    "part": (ExitCode.NO_PART, "no part xczu7ev-ffvc1156-2-e. Add its family"),
    "licence": (ExitCode.LICENCE, "no licence for this device"),
    "board_part": (ExitCode.BOARD_FILES, "board's files are not installed"),
    "no_component": (ExitCode.NO_ARTEFACT, "component.xml was not written"),
    "place": (ExitCode.DOES_NOT_FIT, "needs more than the device has: 'ERROR: [Place 30-640]"),
    "run_killed": (ExitCode.KILLED, "ran out of memory"),
    "run_stopped": (ExitCode.INCOMPLETE, "impl_1 stopped at 45%: place_design ERROR"),
    "slack": (ExitCode.TIMING, "worst slack -0.217 ns (setup), 0.043 ns (hold) at 300 MHz; "),
    "unconstrained": (ExitCode.TIMING, "no setup path is constrained"),
    "killed": (ExitCode.KILLED, "killed by signal 9 (what the kernel does when memory runs out)"),
    "exit_0": (ExitCode.NO_ARTEFACT, "with success and without version, part, tried, wns, clock_mhz, done"),
    "no_bit": (ExitCode.NO_ARTEFACT, "moevit_zcu104.bit is missing, though Vivado reported success"),
    "bit_cut": (ExitCode.NO_ARTEFACT, "is cut off"),
    "bit_part": (ExitCode.NO_ARTEFACT, "is for xczu1cg, not for xczu7ev-ffvc1156-2-e"),
    "no_hwh": (ExitCode.NO_ARTEFACT, "moevit_zcu104.hwh was not generated"),
    "no_clock": (ExitCode.NO_ARTEFACT, "has no clock, timing was checked at 299.997 MHz"),
    "hwh_clock": (ExitCode.NO_ARTEFACT, "has a clock of 333.33 MHz, timing was checked at 299.997 MHz"),
    "hwh_registers": (ExitCode.NO_ARTEFACT, "lacks registers: BUSY_HIGH"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_failure_has_its_message_and_code(run, tmp_path, fault):
    expected, message = FAULTS[fault]
    code, output = run(STUB_FAULT=fault)
    assert message in output, output
    assert code == expected
    assert not published(tmp_path / "out")


def test_a_failure_leaves_no_older_bitstream(run, tmp_path):
    assert run()[0] == 0
    code, _ = run("--jobs", "1", STUB_FAULT="slack")
    assert code == ExitCode.TIMING and not published(tmp_path / "out")


def test_what_an_interrupted_build_left_is_removed(run, tmp_path):
    work = tmp_path / "out" / "work"
    assert run(STUB_FAULT="run_killed")[0] == ExitCode.KILLED
    (work / "project" / "half-written").write_text("")
    assert run()[0] == 0
    assert not (work / "project" / "half-written").exists()
    assert [event[1] for event in events(work) if event[0] == "source"] == [
        "probe.tcl", "package_ip.tcl", "build.tcl", "probe.tcl", "build.tcl"]  # the IP was whole and is kept
    assert run("--preset", "own")[0] == 0
    assert [event[1] for event in events(work) if event[0] == "source"][-2:] == ["package_ip.tcl", "build.tcl"]


def test_out_of_context(run, tmp_path):
    code, output = run(verb="ooc")
    assert code == 0 and "0.043" in output
    report = json.loads((tmp_path / "out" / "ooc.json").read_text())
    assert (report["part"], report["version"]) == ("xczu7ev-ffvc1156-2-e", "2024.2")
    code, output = run(verb="ooc", STUB_FAULT="slack")
    assert code == ExitCode.TIMING and "worst slack -0.217 ns (setup) at 300 MHz" in output
    assert not published(tmp_path / "out")


def test_the_handoff_that_simulations_use_passes_the_check(tmp_path):
    path = tmp_path / "moevit_zcu104.hwh"
    path.write_text(handoff(BOARDS["zcu104"], CONFIGS["32x64"]))
    check_hwh(path, 300)
    path.write_text(path.read_text().replace("moevit:accel:moevit:0.2", "moevit:accel:moevit:0.0"))
    with pytest.raises(VivadoError, match="has 0 cells moevit_0"):
        check_hwh(path, 300)


def test_no_vivado(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    code, output = run()
    assert code == ExitCode.NO_VIVADO and "not on PATH. Source settings64.sh" in output


@pytest.mark.parametrize("version, code", [("2021.2", ExitCode.OLD_VIVADO), ("2022.1", ExitCode.DONE),
                                           ("2025.2", ExitCode.DONE), ("x", ExitCode.OLD_VIVADO)])
def test_versions(run, version, code):
    found, output = run(STUB_VERSION=version)
    assert found == code, output


def test_a_vivado_that_does_not_start(run, vivado):
    vivado.write_text("#!/bin/sh\nexit 3\n")
    code, output = run()
    assert code == ExitCode.NO_VIVADO and "does not start" in output


def test_board_files_absent(run):
    code, output = run("--preset", "board", STUB_BOARD_FILES="0")
    assert code == ExitCode.BOARD_FILES and "--preset own" in output
    code, output = run(STUB_BOARD_FILES="0")
    assert code == 0 and "our own, no board files" in output


@pytest.mark.parametrize("name", ["with space", "größe"])
def test_odd_paths(run, tmp_path, name):
    code, output = run(output=tmp_path / name)
    assert code == ExitCode.PATH and "Give a plain path with --output" in output


def test_disk_and_memory(run, tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemAvailable: 4194304 kB\nSwapFree: 1048576 kB\n")
    code, output = run()
    assert code == ExitCode.MEMORY and "5.0 GiB of memory are available" in output
    assert run("--force")[0] == 0
    monkeypatch.setattr(preflight, "DISK_GIB", 1 << 40)
    code, output = run(output=tmp_path / "other")
    assert code == ExitCode.DISK and "--output" in output


def _default_signals() -> None:
    """The process that runs the tests may ignore some, as a job in the background or under nohup does."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_vivado_too(vivado, tmp_path, sent):
    """In a process of its own: Ctrl-C, what CI sends, a terminal that is closed."""
    script = (f"import runpy; bare_rtl = runpy.run_path({str(Path(__file__).with_name('conftest.py'))!r})['bare_rtl'];"
              "from moevit.cli import app, vivado as c;"
              "c.machine_rtl = lambda config: bare_rtl(config.name); app.app()")
    arguments = ["bitstream", "--board", "zcu104", "--force", "-o", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "STUB_FAULT": "hang"}, preexec_fn=_default_signals)
    log, deadline = tmp_path / "out" / "work" / "build.log", time.monotonic() + 120
    while not (log.exists() and "hanging" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(sent)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, output
    mine = str(tmp_path).encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            assert not (folder / "cwd").readlink().as_posix().encode().startswith(mine)
        except OSError:
            continue


@pytest.mark.parametrize("line, code", [
    ("ERROR: [DRC UTLZ-1] Resource utilization: DSPs over-utilized", ExitCode.DOES_NOT_FIT),
    ("ERROR: [Coretcl 2-106] Specified part could not be found.", ExitCode.NO_PART),
    ("terminate called after throwing an instance of 'std::bad_alloc'", ExitCode.KILLED),
    ("ERROR: [Synth 8-439] module 'x' not found", ExitCode.SCRIPT),
    ("WARNING: nothing", ExitCode.SCRIPT),
    ("WARNING: [Board 49-71] The board_part definition was not found for x", ExitCode.SCRIPT),  # no cause of an end
])
def test_lines_of_a_log(tmp_path, line, code):
    log = tmp_path / "vivado.log"
    log.write_text(f"start\n{line}\nend\n")
    error = diagnose(1, [log, tmp_path / "absent.log"])
    assert error.code == code and str(log) in str(error)
    if line.startswith("ERROR"):
        assert line in str(error)


def test_signals(tmp_path):
    assert diagnose(-9, []).code == diagnose(137, []).code == ExitCode.KILLED
    assert "signal 15" in str(diagnose(143, [tmp_path / "absent"]))


def test_an_exit_code_without_our_message_is_not_believed(tmp_path):
    log = tmp_path / "vivado.log"
    log.write_text("INFO: all is well\n")
    assert diagnose(int(ExitCode.TIMING), [log]).code == ExitCode.SCRIPT


def test_usage(run):
    assert run(board="zcu999")[0] == 2
    assert run("--config", "9x9")[0] == 2


def test_usage_is_looked_at_before_vivado(run, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert run(board="zcu999")[0] == run("--config", "9x9")[0] == 2


def test_a_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, output = run(output=tmp_path / "file" / "out")
    assert code == ExitCode.PATH and "cannot be written" in output


def test_prepared_for_another_computer(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert run(verb="vivado")[0] == 0
    out = tmp_path / "out"
    assert {path.name for path in (out / "tcl").iterdir()} == {
        "common.tcl", "probe.tcl", "package_ip.tcl", "block_design.tcl", "build.tcl", "ooc.tcl",
        "timing.tcl"}
    for path in out.rglob("*"):
        assert path.is_dir() or str(tmp_path) not in path.read_text(), path


def test_boards_are_those_of_the_spec():
    assert BOARD_DATA.keys() == BOARDS.keys()
    for name, data in BOARD_DATA.items():
        assert data.part.upper().startswith(BOARDS[name].part)
        assert (data.family.memory_bits == 64) == BOARDS[name].series7
    assert [name for name, data in BOARD_DATA.items() if data.paid] == ["zcu102"]


def test_the_page_lists_every_exit_code():
    text = (ROOT / "docs" / "vivado.md").read_text()
    assert {int(code): name for code, name in re.findall(r"(?m)^\| (\d+) \| `(\w+)` \|", text)} == {
        int(code): code.name for code in ExitCode}
