# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Vivado on PATH, which runs the real scripts against stubs.tcl; port tables without their cores."""

import gc
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable
from typer.testing import CliRunner

from moevit.cli import vivado as command
from moevit.cli.app import app
from moevit.hw.top import Core
from moevit.rtl_gen.generate import Rtl
from moevit.rtl_gen.ports import port_table
from moevit.rtl_gen.vivado import preflight
from moevit.rtl_gen.vivado import run as one_run
from moevit.rtl_gen.wrapper import wrapper
from moevit.spec.arrays import CONFIGS

STUBS = Path(__file__).with_name("stubs.tcl")


def interpreter() -> str:
    """A command that runs a Tcl script with arguments: tclsh, or the interpreter inside Python."""
    if found := shutil.which("tclsh"):
        return found
    pytest.importorskip("tkinter", reason="neither tclsh nor Python's tkinter is here to run Tcl")
    program = ("import sys, tkinter; t = tkinter.Tcl(); t.setvar('argv', t.call('list', *sys.argv[2:]));"
               "t.call('source', sys.argv[1])")
    return f'{sys.executable} -c "{program}"'


@cache
def bare_rtl(name: str) -> Rtl:
    """Wrapper and port table of a configuration, with an empty core."""
    silenced = getattr(Elaboratable, "_MustUse__silence", False)
    Elaboratable._MustUse__silence = True  # nothing is elaborated: only the ports are looked at
    try:
        table = port_table(Core(CONFIGS[name]))
        gc.collect()
    finally:
        Elaboratable._MustUse__silence = silenced
    top = f"moevit_{name}"
    return Rtl(top, table, {f"{top}.v": wrapper(top, f"{top}_core", table),
                            f"{top}_core.v": f"module {top}_core; endmodule\n"})


@pytest.fixture
def vivado(tmp_path, monkeypatch):
    """A folder at the front of PATH with a program ``vivado`` in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "vivado"
    program.write_text("#!/bin/sh\n"
                       'if [ "$1" = -version ]; then echo "Vivado v${STUB_VERSION:-2024.2} (64-bit)"; exit 0; fi\n'
                       f'exec {interpreter()} {STUBS} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    for name in ("STUB_FAULT", "STUB_BOARD_FILES", "STUB_VERSION", "STUB_DELAY"):
        monkeypatch.delenv(name, raising=False)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\n")
    monkeypatch.setattr(preflight, "MEMINFO", meminfo)
    monkeypatch.setattr(preflight, "DISK_GIB", 0)
    monkeypatch.setattr(one_run, "_POLL", 0.02)
    return program


@pytest.fixture
def run(vivado, tmp_path, monkeypatch):
    """``run(*arguments, **environment)``: exit code and output, on one line, of a build in ``tmp_path / out``."""
    monkeypatch.setattr(command, "machine_rtl", lambda config: bare_rtl(config.name))

    def call(*arguments, verb="bitstream", board="zcu104", output=tmp_path / "out", **environment):
        done = CliRunner().invoke(app, [verb, "--board", board, "-o", str(output), *arguments], env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, " ".join(done.output.split())

    return call


def events(work: Path) -> list[list[str]]:
    """The events that the stand-in has recorded."""
    return [line.split("\t") for line in (work / "events.tsv").read_text().splitlines()]
