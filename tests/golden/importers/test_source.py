# SPDX-License-Identifier: Apache-2.0
"""Files: reading, conversion and refusals, each with a one-line message."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import (
    AmbiguousState,
    BadTensor,
    ImportFailed,
    UnknownFamily,
    UnmappedTensor,
    Unreadable,
)
from moevit.golden.importers.report import Report
from moevit.golden.importers.source import read_source
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.spec.networks import Network

from .conftest import assert_same, images_of, reference

NETWORK = Network(name="vit", height=16, width=16, patch=8, dim=32, heads=2, depth=1, hidden=64, final_norm=True)
ASKED = {"heads": 2, "normalise": "none", "family": "timm"}


@pytest.fixture
def state():
    """A state dict under timm's names."""
    tensors = {name: torch.from_numpy(value) for name, value in synthetic_checkpoint(NETWORK, 1).items()}
    tensors["cls_token"] = tensors.pop("prefix_tokens")
    return tensors


def written(path, content):
    if path.suffix == ".safetensors":
        save_file(content, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in content.items()})
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt", "a.bin", "a.npz"])
def test_formats(state, tmp_path, name):
    imported = import_checkpoint(written(tmp_path / name, state), **ASKED)
    assert imported.network.name == "a"
    torch.testing.assert_close(imported.tensors["blocks.0.mlp.fc1.weight"], state["blocks.0.mlp.fc1.weight"])
    assert imported.host["source"]["file"] == name
    assert len(imported.host["source"]["sha256"]) == 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_element_types_are_converted_and_said(state, tmp_path, dtype):
    converted = {name: value.to(dtype) for name, value in state.items()}
    imported = import_checkpoint(written(tmp_path / "a.safetensors", converted), **ASKED)
    assert f"{str(dtype)[6:]} are converted to float32" in str(imported.report)
    for name, value in imported.tensors.items():
        assert value.dtype == torch.float32
        if name.startswith("blocks"):
            torch.testing.assert_close(value, converted[name].float(), rtol=0, atol=0)


@pytest.mark.parametrize("prefixes", [("module.",), ("model.",), ("module.", "backbone."), ("_orig_mod.", "encoder.")],
                         ids=str)
def test_prefixes_are_left_out_and_said(state, tmp_path, prefixes):
    wrapped = {"".join(prefixes) + name: value for name, value in state.items()}
    imported = import_checkpoint(written(tmp_path / "a.pth", wrapped), **ASKED)
    for prefix in prefixes:
        assert f"{prefix!r} in front of {len(state)} names is left out" in str(imported.report)
    plain = import_checkpoint(written(tmp_path / "a.pth", state), **ASKED)
    assert_same(reference(imported, images_of(NETWORK)), reference(plain, images_of(NETWORK)))


def test_a_backbone_beside_a_head(state, tmp_path):
    wrapped = {f"backbone.{name}": value for name, value in state.items()} | {"decode_head.weight": torch.ones(2, 2)}
    path = written(tmp_path / "a.pth", wrapped)
    with pytest.raises(UnmappedTensor, match="decode_head.weight"):
        import_checkpoint(path, **ASKED)
    assert "decode_head.weight" in str(import_checkpoint(path, leave_out=("decode_head*",), **ASKED).report)


def test_of_several_state_dicts_one_is_asked_for(state, tmp_path):
    ema = {name: value + 1 for name, value in state.items()}
    path = written(tmp_path / "a.pth", {"model": state, "model_ema": ema, "epoch": 3, "optimizer": {
        "state": {0: {"exp_avg": torch.ones(2, 2)}}}})
    with pytest.raises(AmbiguousState, match=r"model \(\d+ tensors\), model_ema \(\d+ tensors\).*--state"):
        import_checkpoint(path, **ASKED)
    with pytest.raises(AmbiguousState, match="--state teacher"):
        import_checkpoint(path, state="teacher", **ASKED)
    for name, values in (("model", state), ("model_ema", ema)):
        imported = import_checkpoint(path, state=name, **ASKED)
        torch.testing.assert_close(imported.tensors["norm.bias"], values["norm.bias"])
        assert f"state dict {name!r}" in str(imported.report)
    alone = written(tmp_path / "b.pth", {"state_dict": {"model": state}})
    assert "'state_dict.model'" in str(import_checkpoint(alone, **ASKED).report)
    with pytest.raises(ImportFailed, match="no more than one"):
        import_checkpoint(written(tmp_path / "a.safetensors", state), state="model", **ASKED)


def test_files_of_old_pytorch(state, tmp_path):
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    imported = import_checkpoint(tmp_path / "a.pth", **ASKED)
    torch.testing.assert_close(imported.tensors["norm.bias"], state["norm.bias"])


def test_a_configuration_beside_the_file(state, tmp_path):
    path = written(tmp_path / "a.pth", state)
    (tmp_path / "a.json").write_text(json.dumps({"num_attention_heads": 4}))
    assert import_checkpoint(path, family="timm", normalise="none").network.heads == 4
    for content, match in (("{", "not JSON"), ("[" * 200_000, "not JSON"), ("[1]", "object of names")):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(Unreadable, match=f"a.json.*{match}"):
            import_checkpoint(path, **ASKED)


def test_a_whole_model_is_not_read(tmp_path):
    """The file of torch.save(model) needs the model's code. A scripted model is a program."""
    module = torch.nn.Linear(2, 2)
    with pytest.raises(Unreadable, match="not a PyTorch file of plain tensors"):
        import_checkpoint(written(tmp_path / "a.pth", module))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, but its files still exist
        torch.jit.script(module).save(tmp_path / "a.pt")
    with pytest.raises(Unreadable, match="TorchScript program"):
        import_checkpoint(tmp_path / "a.pt")


class Opened:
    """The action of a malicious file during loading."""

    def __reduce__(self):
        return print, ("code ran",)


def test_no_code_of_a_file_is_run(state, tmp_path, capsys):
    with pytest.raises(Unreadable, match="not a PyTorch file of plain tensors.*state_dict"):
        import_checkpoint(written(tmp_path / "a.pth", {"model": state, "hook": Opened()}), **ASKED)
    assert "code ran" not in capsys.readouterr().out


BROKEN = {
    "text.safetensors": b"hello", "text.pth": b"hello", "text.npz": b"hello", "empty.pth": b"", "empty.npz": b"",
    "empty.safetensors": b"", "cut.pth": "cut", "cut.npz": "cut", "cut.safetensors": "cut", "word.txt": b"hello",
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_not_what_they_say(state, tmp_path, name):
    path = tmp_path / name
    if BROKEN[name] == "cut":
        written(path, state)
        path.write_bytes(path.read_bytes()[:-600])
    else:
        path.write_bytes(BROKEN[name])
    with pytest.raises(Unreadable, match=name) as caught:
        import_checkpoint(path, **ASKED)
    assert "\n" not in str(caught.value)


def test_nothing_to_read(tmp_path):
    with pytest.raises(Unreadable, match="no such file"):
        import_checkpoint(tmp_path / "a.pth")
    with pytest.raises(Unreadable, match="model.safetensors"):
        import_checkpoint(tmp_path)
    with pytest.raises(Unreadable, match="holds no state dict, but list"):
        import_checkpoint(written(tmp_path / "a.pth", [1, 2]))
    (tmp_path / "b.npz").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(Unreadable, match="b.npz"):
        import_checkpoint(tmp_path / "b.npz")


@pytest.mark.parametrize("change, match", [
    (lambda x: x.to(torch.int8), "int8"), (lambda x: x.to(torch.complex64), "complex64"),
    (lambda x: x.to(torch.float8_e4m3fn), "float8_e4m3fn"), (lambda x: x * torch.nan, "NaN"),
    (lambda x: x / 0, "infinite"), (lambda x: x[:, :7], "shape")])
def test_tensors_that_are_no_weights_are_refused_by_name(state, tmp_path, change, match):
    state["blocks.0.mlp.fc2.weight"] = change(state["blocks.0.mlp.fc2.weight"]).contiguous()
    with pytest.raises(BadTensor, match=f"blocks.0.mlp.fc2.weight.*{match}"):
        import_checkpoint(written(tmp_path / "a.pth", state), **ASKED)


def test_a_number_beyond_float32_is_refused(state, tmp_path):
    state["norm.bias"] = state["norm.bias"].double() + 1e300
    with pytest.raises(ImportFailed, match="norm.bias.*range of float32"):
        import_checkpoint(written(tmp_path / "a.pth", state), **ASKED)


@pytest.mark.parametrize("options, match", [
    ({"image": (32,)}, "--image"), ({"image": (0, 32)}, "--image"), ({"image": (32.0, 32)}, "--image"),
    ({"grid": (2, -2)}, "--grid"), ({"pool": "max"}, "--pool max"), ({"activation": "swish"}, "activation"),
    ({"heads": 0}, "heads"), ({"normalise": "nobody"}, "--normalise nobody"),
    ({"normalise": None, "mean": (0, 0, 0), "std": (1, 0, 1)}, "std is positive"),
    ({"normalise": None, "mean": (0, float("nan"), 0), "std": (1, 1, 1)}, "finite")])
def test_bad_options(state, tmp_path, options, match):
    with pytest.raises(ImportFailed, match=match):
        import_checkpoint(written(tmp_path / "a.pth", state), **{**ASKED, **options})


def test_no_family(tmp_path):
    path = written(tmp_path / "a.pth", {"layer.weight": torch.ones(2, 2)})
    with pytest.raises(UnknownFamily, match="timm: patch_embed.proj.weight.*huggingface:.*torchvision:.*--family"):
        import_checkpoint(path)
    with pytest.raises(UnknownFamily, match="--family keras: it is one of moevit, timm"):
        import_checkpoint(path, family="keras")


def test_a_family_can_be_forced(state, tmp_path):
    """A file with moevit's metadata is read as timm's."""
    path = tmp_path / "a.safetensors"
    save_file(state, path, metadata={"network": json.dumps({"name": "other"})})
    assert import_checkpoint(path, **ASKED).host["source"]["family"] == "timm"


def test_the_report_says_what_was_read(state, tmp_path):
    report = Report()
    source = read_source(written(tmp_path / "a.pth", state), report=report)
    assert len(source.tensors) == len(state)
    assert report.lines()[0].startswith(f"read       {len(state)} tensors, 0 MB as float32, of ")
