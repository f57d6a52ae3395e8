# SPDX-License-Identifier: Apache-2.0
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from moevit.cli import quantise as command
from moevit.cli import screen
from moevit.cli.app import app
from moevit.golden.quant.fidelity import BLOCK_TENSORS
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.golden.reference import load_state, save
from moevit.kit.npz import read_npz
from moevit.spec.networks import NETWORKS
from moevit.spec.quantised import QuantisedModel

TINY = NETWORKS["tiny_test"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(TINY, 1).items()}
    save("tiny.safetensors", load_state(TINY, tensors))
    monkeypatch.setattr(screen.console, "width", 200)
    return lambda *arguments: CliRunner().invoke(app, ["quantise", *arguments])


def test_checkpoint_to_model_with_a_table(run):
    result = run("tiny.safetensors", "-o", "model.npz")
    assert result.exit_code == 0, result.output
    assert "SQNR in dB" in result.output and "experts" in result.output
    assert QuantisedModel.load("model.npz").network == TINY


def test_a_verdict_names_what_is_in_doubt(run):
    """Good mean figures do not hide a broken layer."""
    result = run("tiny.safetensors", "-o", "model.npz")
    assert "worst tensor " in result.output and "final tokens " in result.output and "same experts " in result.output
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(TINY, 1).items()}
    tensors["blocks.0.mlp.fc2.bias"] = tensors["blocks.0.mlp.fc2.bias"].clone()
    tensors["blocks.0.mlp.fc2.bias"][5] = 3000
    save("spike.safetensors", load_state(TINY, tensors))
    result = run("spike.safetensors", "-o", "model.npz")
    assert result.exit_code == 0 and "nothing is in doubt" not in result.output
    assert any(line.startswith("warning: blocks.0.mlp.fc2.bias[5]") for line in result.output.splitlines())


def test_every_figure_is_whole_at_80_columns():
    network = NETWORKS["m3vit_tiny"]
    sqnr = {f"{block}.{name}": -12.3 for block in range(network.depth) for name in BLOCK_TENSORS}
    shown = Console(width=80, file=StringIO())
    fidelity = SimpleNamespace(sqnr={"x_embed": 100, "tokens": 100, **sqnr}, saturated={"0.v": 123456},
                               routing={block: 1.0 for block in range(network.depth)})
    shown.print(command.table(fidelity, network))
    text = shown.file.getvalue()
    assert "…" not in text and text.count("-12.3") == len(sqnr) and text.count("100.0%") == network.depth
    assert all(part in text for name in BLOCK_TENSORS for part in name.split("_"))


def test_writes_where_it_says(run, tmp_path):
    assert run("tiny.safetensors", "-o", "new/model", "--check", "0").exit_code == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_places_that_cannot_be_read_or_written(run, tmp_path):
    result = run("tiny.safetensors", "-o", "tiny.safetensors/model.npz")
    assert result.exit_code == 1 and "tiny.safetensors/model.npz cannot be written" in result.output
    (tmp_path / "folder").mkdir()
    for arguments in (["folder", "-o", "a.npz"], ["tiny.safetensors", "-o", "folder"],
                      ["tiny.safetensors", "-o", "a.npz", "--heads", "folder"]):
        result = run(*arguments)
        assert result.exit_code == 2 and "'folder' is a directory" in result.output


@pytest.mark.parametrize("command", ["score", "prepare"])
def test_demo_of_what_is_not_there_or_of_another_network(run, command):
    output = ["-o", "scenes.npz"] if command == "prepare" else []
    assert run("tiny.safetensors", "-o", "model.npz", "--check", "0").exit_code == 0
    for model, weights, message in (("none", "tiny.safetensors", "none is not a quantised model"),
                                    ("model.npz", "none", "No such file or directory: none"),
                                    ("model.npz", "tiny.safetensors", "for network demo, not for tiny_test")):
        result = CliRunner().invoke(app, ["demo", command, "--model", model, "--weights", weights, *output])
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
        assert message in result.output.replace("\n", " ")


def test_own_images(run):
    np.save("images.npy", synthetic_images(TINY, 1, 3))
    assert run("tiny.safetensors", "-o", "model.npz", "--images", "images.npy", "--check", "0").exit_code == 0


@pytest.mark.parametrize("content, message", [
    (np.zeros((2, 16, 32, 3), np.uint8), "single colour"), (np.zeros((0, 16, 32, 3), np.uint8), "no calibration"),
    (np.zeros(5), "calibrated on u8 images"), (b"not numpy", "is not a .npy file"),
])
def test_useless_images(run, content, message, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / "images.npy").write_bytes(content)
    else:
        np.save("images.npy", content)
    result = run("tiny.safetensors", "-o", "model.npz", "--images", "images.npy")
    assert result.exit_code == 1 and message in result.output
    assert not (tmp_path / "model.npz").exists()


def test_wrong_checkpoint(run, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"no checkpoint")
    result = run("other.safetensors", "-o", "model.npz")
    assert result.exit_code == 1 and "is not a safetensors file" in result.output
    assert run("absent.safetensors", "-o", "model.npz").exit_code == 1


def test_heads_pass_through(run):
    heads = {"heads.depth.fc.bias": torch.tensor([3.0])}
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(TINY, 1).items()}
    save("headed.safetensors", load_state(TINY, tensors), heads)
    assert run("headed.safetensors", "-o", "model.npz", "--heads", "heads.npz", "--check", "0").exit_code == 0
    assert {name: value.tolist() for name, value in read_npz("heads.npz").items()} == {"heads.depth.fc.bias": [3.0]}
    result = run("tiny.safetensors", "-o", "model.npz", "--heads", "none.npz", "--check", "0")
    assert result.exit_code == 1 and "has no tensors called heads." in result.output


def test_a_cut_off_run_leaves_no_new_heads(run, monkeypatch, tmp_path):
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(TINY, 1).items()}
    save("headed.safetensors", load_state(TINY, tensors), {"heads.depth.fc.bias": torch.tensor([3.0])})

    def cut_off(*_):
        raise OSError("disk full")

    monkeypatch.setattr(QuantisedModel, "save", cut_off)
    assert run("headed.safetensors", "-o", "model.npz", "--heads", "heads.npz", "--check", "0").exit_code == 1
    assert not (tmp_path / "heads.npz").exists()
