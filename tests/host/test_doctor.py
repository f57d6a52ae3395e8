# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings about a computer whose files are in a temporary folder."""

import json
import os

import numpy as np
import pytest

from moevit.cli.board import main
from moevit.compiler.assemble import compile_model
from moevit.host import doctor
from moevit.spec.arrays import CONFIGS
from moevit.spec.ip import CLOCK_PARAMETER, VLNV

CONFIG = CONFIGS["8x8"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A board's files."""
    monkeypatch.delenv("PYNQ_REMOTE_DEVICES", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor, "version", lambda package: "4.0.0")
    monkeypatch.setattr(np, "__version__", "1.26.4")
    root = tmp_path / "root"
    for name, content in (("proc/device-tree/chosen/pynq_board", "ZCU104\0"), ("dev/mem", ""), ("dev/uio0", ""),
                          ("proc/meminfo", "MemTotal: 1 kB\nCmaTotal: 524288 kB\nCmaFree: 262144 kB\n")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture
def folder(tmp_path, tiny_model):
    """A release archive, unpacked."""
    (tmp_path / "moevit.bit").write_text("bits")
    (tmp_path / "moevit.hwh").write_text(f'<EDKSYSTEM><MODULES><MODULE VLNV="{VLNV}"/></MODULES></EDKSYSTEM>')
    (tmp_path / "build.json").write_text(json.dumps({"config_hash": f"0x{CONFIG.hash:08X}"}))
    compile_model(tiny_model, CONFIG).save(tmp_path / "demo.bundle")
    return tmp_path


def missing(findings):
    return {each.what: each.fix for each in findings if each.fix}


def test_all_is_there(folder, root):
    findings = doctor.examine(folder, root)
    assert not missing(findings)
    lines = doctor.table(findings).splitlines()
    assert {line.split()[0]: line.split(maxsplit=2)[2] for line in lines} == {
        "python": findings[0].found, "pynq": "4.0.0", "numpy": "1.26.4", "board": "ZCU104", "root": "yes",
        "registers": "/dev/mem", "interrupts": "uio0", "CMA": "256 of 512 MiB are free", "overlay": "moevit.bit",
        "bundle": f"demo.bundle for 8x8 (0x{CONFIG.hash:08X})"}
    assert all(line.split()[1] == "ok" for line in lines)


@pytest.mark.parametrize("file, content, what, fix", [
    ("root/proc/device-tree/chosen/pynq_board", None, "board", "SimulatedBoard"),
    ("root/dev/mem", None, "registers", "PYNQ image"),
    ("root/dev/uio0", None, "interrupts", "polls"),
    ("root/proc/meminfo", "CmaTotal: 16384 kB\nCmaFree: 16000 kB\n", "CMA", "cma=256M"),
    ("root/proc/meminfo", None, "CMA", "cma=256M"),
    ("moevit.hwh", None, "overlay", "moevit.hwh must lie beside it"),
    ("moevit.bit", None, "overlay", "release archive"),
    ("moevit.bit", "", "overlay", "empty"),
    ("moevit.hwh", "<EDKSYSTEM>", "overlay", "moevit.hwh is no hardware handoff"),
    ("moevit.hwh", '<EDKSYSTEM><MODULE VLNV="a:b:c:1.0"/></EDKSYSTEM>', "overlay", f"has no {VLNV}"),
    ("demo.bundle", None, "bundle", "compile a model"),
    ("demo.bundle", "MOEVBNDL", "bundle", "compile it again"),
    ("build.json", '{"config_hash": "0x1234"}', "bundle", "the overlay is 0x00001234"),
])
def test_what_is_missing_is_said(folder, root, file, content, what, fix):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    found = missing(doctor.examine(folder, root))
    assert list(found) == [what] and fix in found[what]


@pytest.mark.parametrize("built, fix", [("299.997", ""), ("214.284", "must be of one build")])
def test_the_clock_is_that_of_the_build(folder, root, built, fix):
    (folder / "moevit.hwh").write_text(
        f'<EDKSYSTEM><MODULES><MODULE VLNV="{VLNV}"/><MODULE><PARAMETER NAME="{CLOCK_PARAMETER}" VALUE="299.997000"/>'
        "</MODULE></MODULES></EDKSYSTEM>")
    (folder / "build.json").write_text(json.dumps({"config_hash": f"0x{CONFIG.hash:08X}", "clock_mhz": built}))
    clock, = (each for each in doctor.examine(folder, root) if each.what == "clock")
    assert clock.found == f"299.997 MHz, built for {built} MHz" and fix in clock.fix and bool(fix) == bool(clock.fix)


def test_versions_and_rights(folder, root, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    assert {"root", "numpy"} == set(missing(doctor.examine(folder, root)))
    monkeypatch.setattr(doctor, "version", lambda package: "3.0.1")
    assert {"root"} == set(missing(doctor.examine(folder, root)))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda package: None)
    assert "PYNQ_REMOTE_DEVICES" in missing(doctor.examine(folder, root))["pynq"]


def test_a_remote_board(folder, root, monkeypatch):
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "192.0.2.99")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not missing(doctor.examine(folder, root))
    monkeypatch.setattr(doctor, "version", lambda package: "3.1.0")
    assert "needs pynq 4" in missing(doctor.examine(folder, root))["remote"]


def test_command(folder, capsys):
    assert main(["doctor", str(folder)]) == 1  # this computer is no board
    assert "missing  none: this is no PYNQ board" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([])
