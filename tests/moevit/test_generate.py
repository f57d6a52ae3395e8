# SPDX-License-Identifier: Apache-2.0
"""The command line on the real machine: its files are written, and do not change from run to run."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from moevit.rtl_gen.machine import machine_rtl, module_name
from moevit.spec.arrays import CONFIGS

pytestmark = pytest.mark.timeout(300)


def run(*arguments, **environment):
    command = [sys.executable, "-m", "moevit", "generate", *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, check=False,
                          env={**os.environ, "COLUMNS": "200", **environment})


def test_written_twice_are_the_same_bytes(tmp_path):
    done = run("--config", "8x8", "-o", tmp_path / "rtl", PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in (tmp_path / "rtl").iterdir()}
    assert written == machine_rtl(CONFIGS["8x8"]).files
    manifest = json.loads(written["manifest.json"])
    assert manifest["config_hash"] == f"0x{CONFIGS['8x8'].hash:08X}"
    assert manifest["parameters"]["k_lanes"] == 8
    assert set(manifest["files"]) == {"moevit_8x8.v", "moevit_8x8_core.v"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256(written[name].encode()).hexdigest() == digest
    assert "trace" not in written["moevit_8x8.v"]
    assert str(tmp_path) not in "".join(written.values()) and "/work/" not in written["moevit_8x8_core.v"]


def test_columns_are_written_once():
    """Columns are instances of one module, and so are lanes. The cost of 64 columns does not grow with their number."""
    text = machine_rtl(CONFIGS["8x8"]).files["moevit_8x8_core.v"]
    modules = [name for name in re.findall(r"(?m)^module (\S+)", text) if ".array.column_" in name]
    assert len(modules) == 2
    assert len(re.findall(rf"(?m)^  {re.escape(modules[0])} ", text)) == CONFIGS["8x8"].n_lanes // 2  # pairs of columns


def test_an_unknown_configuration_is_refused(tmp_path):
    done = run("--config", "9x9", "-o", tmp_path)
    assert done.returncode == 2
    assert "9x9" in done.stderr and "16x16" in done.stderr


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--config", "8x8", "-o", tmp_path / "file" / "rtl")
    assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr


def test_the_simulated_variant_has_another_name():
    names = {module_name(config) for config in CONFIGS.values()}
    assert len(names) == len(CONFIGS) and all(name.isidentifier() for name in names)
