# SPDX-License-Identifier: Apache-2.0
"""Inputs that ``moevit simulate`` refuses before it builds anything."""

import numpy as np
import pytest
from typer.testing import CliRunner

from moevit.cli import simulate as command
from moevit.cli.app import app
from moevit.spec.bundle import Bundle

MANIFEST = {
    "network": {"name": "small"}, "config": "8x8", "config_hash": 7, "bus_bytes": 8, "batch": 1, "deadline_cycles": 90,
    "tasks": ["semseg", "depth"], "gate_stride": 8,
    "image": {"height": 16, "width": 32, "patch": 8, "cell": 8}, "host": {},
    "output": {"tokens": 9, "words": 4, "lanes": 8, "dim": 32, "fraction": 9},
    "instructions": [{"name": "end", "opcode": "END", "part": "end", "block": None, "macs_per_row": 0}],
}
IMAGES = np.zeros((1, 16, 32, 3), np.uint8)


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """``refused(arrays, *arguments, code=1, **manifest)``: the printed message on one line."""
    def build(*_, **__):
        raise AssertionError("a simulation was built")

    monkeypatch.setattr(command, "SimulatedBoard", build)

    def run(arrays, *arguments, code=1, **manifest):
        Bundle({**MANIFEST, **manifest}, bytes(64), b"", bytes(16)).save(tmp_path / "a.bundle")
        np.savez(tmp_path / "a.npz", **arrays)
        paths = [str(tmp_path / name) for name in ("a.bundle", "a.npz")]
        result = CliRunner().invoke(app, ["simulate", *paths, "-o", str(tmp_path / "out.npz"), *arguments])
        assert result.exit_code == code and isinstance(result.exception, SystemExit | None), result.exception
        assert not (tmp_path / "out.npz").exists()
        return result.output

    return run


def test_scenes(refused):
    assert "images are float64[0]" in refused({})
    assert "images are uint8[1, 8, 32, 3]" in refused({"images": IMAGES[:, :8]})
    assert "images are int64[1, 16, 32, 3]" in refused({"images": IMAGES.astype(np.int64)})
    for tokens, found in ((np.zeros((9, 32), np.int16), "int16[9, 32]"), (np.zeros((1, 9, 32)), "float64[1, 9, 32]"),
                          (np.full((1, 9, 32), "7"), "<U1[1, 9, 32]")):
        assert f"integer_depth is {found}, the machine writes int16[1, 9, 32]" in refused(
            {"images": IMAGES, "integer_depth": tokens})
    assert "3 scenes are no whole batches of 2" in refused({"images": np.repeat(IMAGES, 3, axis=0)}, batch=2)


def test_options(refused, tmp_path):
    assert "The tasks are semseg, depth" in refused({"images": IMAGES}, "--task", "colour")
    assert "read_latency must be 2" in refused({"images": IMAGES}, "--latency", "0")
    assert "bandwidth must be 1/10000..2" in refused({"images": IMAGES}, "--bandwidth", "0.00001")
    for option in ("-o", "--waves"):
        below_a_file = str(tmp_path / "a.npz" / "out")
        assert f"{below_a_file} cannot be written" in refused({"images": IMAGES}, option, below_a_file)
        assert "is a directory" in refused({"images": IMAGES}, option, str(tmp_path), code=2)
    assert "configuration 9x9. There are 8x8" in refused({"images": IMAGES}, config="9x9")


def test_a_right_one_is_run(refused, tmp_path):
    with pytest.raises(AssertionError, match="a simulation was built"):
        refused({"images": IMAGES, "integer_depth": np.zeros((1, 9, 32), np.int16)}, "-o", str(tmp_path / "b" / "out"),
                "--waves", str(tmp_path / "c" / "waves.vcd"))
    assert (tmp_path / "b").is_dir() and (tmp_path / "c").is_dir()


def test_what_is_not_compared_is_said(refused, monkeypatch):
    monkeypatch.setattr(command, "_run", lambda *_: 0)
    said = refused({"images": IMAGES, "integer_depth": np.zeros((1, 9, 32), np.int16)}, code=0)
    assert "nothing to compare with: no integer_semseg in" in said and "integer_depth" not in said
