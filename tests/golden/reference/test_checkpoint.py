# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: round trip, and every kind of error."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file

from moevit.golden.reference import M3ViT, checkpoint, load, load_state, read, save
from moevit.golden.reference.moe import GateError
from moevit.spec.networks import NETWORKS

TINY = NETWORKS["tiny_test"]
FC1 = "blocks.1.moe.experts.fc1.weight"


@pytest.fixture
def model() -> M3ViT:
    torch.manual_seed(6)
    return M3ViT(TINY)


@pytest.fixture
def tensors(model) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def test_round_trip(model, tmp_path):
    network = replace(TINY, name="mine", renormalise=True, norm_eps=1e-5)
    model = M3ViT(network)
    model.blocks[1].moe.gate.allow(1, [0, 2])
    head = {"heads.depth.fc.bias": torch.ones(1)}
    host = {"preprocess": {"mean": [0.5, 0.5, 0.5]}}
    save(tmp_path / "a.safetensors", model, head, host)
    again = load(tmp_path / "a.safetensors")
    assert again.network == network and not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    stored = read(tmp_path / "a.safetensors")
    assert stored.network == network and stored.host == host
    assert set(stored.tensors) == set(model.state_dict()) | set(head)


def test_gate_bias_and_mask_are_optional(tensors):
    for name in ("bias", "mask"):
        del tensors[f"blocks.1.moe.gate.{name}"]
    gate = load_state(TINY, tensors).blocks[1].moe.gate
    assert not gate.bias.any() and gate.mask.all()


def test_missing(tensors):
    tensors["blocks.1.moe.expert.fc1.weight"] = tensors.pop(FC1)
    with pytest.raises(checkpoint.MissingTensorError, match=f"{FC1} is missing.*nearest.*blocks.1.moe.expert.fc1"):
        load_state(TINY, tensors)


def test_unexpected(tensors):
    tensors["blocks.1.attn.qvk.weight"] = torch.zeros(1)
    with pytest.raises(checkpoint.UnexpectedTensorError, match=r"attn\.qvk.*nearest.*blocks\.1\.attn\.qkv\.weight"):
        load_state(TINY, tensors)


def test_shape(tensors):
    tensors[FC1] = tensors[FC1].transpose(1, 2)[:, :, :-1]
    with pytest.raises(checkpoint.ShapeError, match=rf"{FC1} has shape \(4, 32, 31\).*needs \(4, 32, 32\)"):
        load_state(TINY, tensors)


@pytest.mark.parametrize(("name", "dtype"), [(FC1, torch.float16), ("blocks.1.moe.gate.mask", torch.float32),
                                             ("heads.depth.fc.bias", torch.float64)])
def test_dtype(tensors, name, dtype):
    tensors[name] = tensors.get(name, torch.ones(1)).to(dtype)
    with pytest.raises(checkpoint.DtypeError, match=f"{name} is {dtype}"):
        load_state(TINY, tensors)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["pos_embed", "heads.semseg.fc.weight"])
def test_not_finite(tensors, name, value):
    tensors[name] = tensors.get(name, torch.zeros(4)).clone()
    tensors[name].view(-1)[1] = value
    with pytest.raises(checkpoint.NotFiniteError, match=f"{name} holds 1 values"):
        load_state(TINY, tensors)


def test_mask_too_small(tensors):
    tensors["blocks.1.moe.gate.mask"] = torch.eye(4, dtype=torch.bool)[:2]
    with pytest.raises(GateError, match="task 0 allows 1"):
        load_state(TINY, tensors)


def test_save_refuses_what_could_not_be_loaded(model, tmp_path):
    with torch.no_grad():
        model.pos_embed[0, 0, 0] = torch.nan
    with pytest.raises(checkpoint.NotFiniteError, match="pos_embed"):
        save(tmp_path / "a.safetensors", model)
    with pytest.raises(checkpoint.UnexpectedTensorError, match=r"must begin with 'heads\.'"):
        save(tmp_path / "a.safetensors", model, {"head.weight": torch.ones(1)})
    assert not list(tmp_path.iterdir())


def test_not_a_checkpoint(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(checkpoint.FileFormatError, match="not a safetensors file"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.safetensors")
    save_file(tensors, path)
    with pytest.raises(checkpoint.FileFormatError, match="no 'network'"):
        load(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({**asdict(TINY), "heads": 3}),
                                  json.dumps({**asdict(TINY), "colour": 1})])
def test_unreadable_network(tmp_path, tensors, text):
    save_file(tensors, tmp_path / "a.safetensors", metadata={"network": text})
    with pytest.raises(checkpoint.FileFormatError, match="network is not readable"):
        load(tmp_path / "a.safetensors")
