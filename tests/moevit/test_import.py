# SPDX-License-Identifier: Apache-2.0
"""``moevit import``: the options are those of an import, the errors are one line."""

from dataclasses import fields
from inspect import signature

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.cli.import_ import import_
from moevit.golden.importers import Options
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load_state, read, save
from moevit.spec.networks import Network

VIT = Network(name="vit", height=32, width=32, patch=8, dim=32, heads=2, depth=2, hidden=64, final_norm=True)


def run(*arguments):
    done = CliRunner().invoke(app, ["import", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def checkpoint(tmp_path):
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(VIT, 1).items()}
    save(tmp_path / "vit.safetensors", load_state(VIT, tensors))
    return tmp_path / "vit.safetensors"


def test_every_option_of_an_import_is_one_of_the_command():
    assert {field.name for field in fields(Options)} == set(signature(import_).parameters) - {"checkpoint", "output"}


def test_what_was_done_is_said_and_written(checkpoint, tmp_path):
    done = run(checkpoint, "-o", tmp_path / "my.safetensors", "--image", "64x48", "--name", "mine")
    assert done.exit_code == 0, done.output
    for kind in ("read", "mapped", "resampled", "host", "proof"):
        assert any(line.startswith(f"{kind} ") for line in done.output.splitlines()), kind
    network = read(tmp_path / "my.safetensors").network
    assert (network.height, network.width, network.name) == (64, 48, "mine")
    assert f"{tmp_path / 'my.safetensors'}: mine: 64 x 48 pixels, patch 8, dim 32, 2 blocks" in done.output


def test_errors_are_a_line(checkpoint, tmp_path):
    save_file({"something": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_text("no checkpoint")
    for arguments, code in (((tmp_path / "other.safetensors",), 1), ((tmp_path / "text.pth",), 1),
                            ((tmp_path / "none",), 1), ((checkpoint, "--family", "nothing"), 1),
                            ((checkpoint, "--image", "64"), 2), ((checkpoint, "--mean", "1,2"), 2),
                            ((checkpoint, "--image", "63x64"), 1)):
        done = run(*arguments, "-o", tmp_path / "out.safetensors")
        assert done.exit_code == code, done.output
        if code == 1:
            lines = [line for line in done.output.splitlines() if " s  load " not in line and " s  import " not in line]
            assert len(lines) == 1, done.output
        assert not (tmp_path / "out.safetensors").exists()
