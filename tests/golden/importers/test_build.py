# SPDX-License-Identifier: Apache-2.0
"""Common to all families: folds, the proof, left-out tensors, the report."""

from dataclasses import replace

import pytest
import torch

from moevit.golden.importers import FAMILIES, import_checkpoint
from moevit.golden.importers.errors import ImportFailed, MissingTensor, NeedsOption, NotProved, Unsupported
from moevit.golden.importers.timm import Timm
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load_state
from moevit.spec.networks import Network

from .conftest import IMAGENET, assert_same, images_of, prepared, reference

NETWORK = Network(name="vit", height=16, width=24, patch=8, dim=32, heads=2, depth=1, hidden=64, final_norm=True)
ASKED = {"heads": 2, "normalise": "imagenet", "image": (16, 24)}


@pytest.fixture
def tensors():
    """A state dict that is both timm's and moevit's."""
    ours = {name: torch.from_numpy(value) for name, value in synthetic_checkpoint(NETWORK, 1).items()}
    theirs = dict(ours)
    theirs["cls_token"] = theirs.pop("prefix_tokens")
    return theirs, ours


def saved(path, tensors):
    torch.save(tensors, path)
    return path


def test_a_patch_embedding_that_is_a_linear_layer(tensors, tmp_path):
    """The weight is flattened by hand in both orders. The library has a convolution on normalised pixels."""
    theirs, ours = tensors
    images = images_of(NETWORK)
    want = load_state(NETWORK, ours).trace(prepared(images, *IMAGENET))["tokens"]
    kernel = theirs["patch_embed.proj.weight"]
    for order, weight in (("rgb-first", kernel.flatten(1)), ("rgb-last", kernel.permute(0, 2, 3, 1).flatten(1))):
        path = saved(tmp_path / "a.pth", theirs | {"patch_embed.proj.weight": weight})
        assert_same(reference(import_checkpoint(path, patch_order=order, **ASKED), images), want)
        with pytest.raises(NeedsOption, match="--patch-order"):
            import_checkpoint(path, **ASKED)
    path = saved(tmp_path / "a.pth", theirs | {"patch_embed.proj.weight": torch.ones(32, 190)})
    with pytest.raises(Unsupported, match="no square patch"):
        import_checkpoint(path, patch_order="rgb-first", **ASKED)


@pytest.mark.parametrize("shape", [(32, 1, 8, 8), (32, 3, 8, 4)])
def test_patches_that_the_machine_has_not(tensors, tmp_path, shape):
    path = saved(tmp_path / "a.pth", tensors[0] | {"patch_embed.proj.weight": torch.ones(shape)})
    with pytest.raises(Unsupported, match="square and of three channels"):
        import_checkpoint(path, **ASKED)


def test_a_norm_without_bias_is_refused(tensors, tmp_path):
    theirs = dict(tensors[0])
    del theirs["blocks.0.norm2.bias"]
    with pytest.raises(Unsupported, match="blocks.0.norm2.weight has no bias.*RMSNorm"):
        import_checkpoint(saved(tmp_path / "a.pth", theirs), **ASKED)


def test_a_missing_block_is_named(tensors, tmp_path):
    theirs = {name.replace("blocks.0", "blocks.1") if name.startswith("blocks.0.norm") else name: value
              for name, value in tensors[0].items()}
    theirs["blocks.3.norm1.weight"] = torch.ones(32)
    with pytest.raises(ImportFailed, match="block 2 of 4"):
        import_checkpoint(saved(tmp_path / "a.pth", theirs), **ASKED)


def test_a_bias_is_absent_everywhere_or_nowhere(tmp_path):
    """Zero is right where a network has no bias, and wrong where one was lost."""
    network = replace(NETWORK, depth=2)
    state = {name: torch.from_numpy(value) for name, value in synthetic_checkpoint(network, 1).items()}
    state["cls_token"] = state.pop("prefix_tokens")
    del state["blocks.1.mlp.fc1.bias"]
    with pytest.raises(MissingTensor, match=r"blocks.1.mlp.fc1.bias is missing, but blocks.0.mlp.fc1.bias is there"):
        import_checkpoint(saved(tmp_path / "a.pth", state), **ASKED)
    del state["blocks.0.mlp.fc1.bias"]
    imported = import_checkpoint(saved(tmp_path / "a.pth", state), **ASKED)
    assert not imported.tensors["blocks.1.mlp.fc1.bias"].any()


def test_the_proof_says_what_it_cannot_tell(tensors, tmp_path):
    """No tensor shows the heads: with four heads in both models, the models agree as with two."""
    report = import_checkpoint(saved(tmp_path / "a.pth", tensors[0]), **{**ASKED, "heads": 4}).report
    assert report.proof_db > 100
    assert "normalise imagenet, heads 4 entered both models as you gave it" in str(report)


def test_parameters_of_training_carry_no_gradient(tensors, tmp_path):
    theirs = {name: torch.nn.Parameter(value) for name, value in tensors[0].items()}
    imported = import_checkpoint(saved(tmp_path / "a.pth", theirs), **ASKED)
    assert not any(value.requires_grad for value in (*imported.tensors.values(), *imported.heads.values()))


def test_what_is_left_out_must_be_there(tensors, tmp_path):
    with pytest.raises(ImportFailed, match=r"--leave-out decoder\*: no tensor"):
        import_checkpoint(saved(tmp_path / "a.pth", tensors[0]), leave_out=("decoder*",), **ASKED)


@pytest.mark.parametrize("failure", ["import", "run"])
def test_a_source_model_that_fails_is_no_reason_to_refuse(tensors, tmp_path, monkeypatch, failure):
    def original(*_):
        if failure == "import":
            raise ZeroDivisionError("of a library")
        return lambda *_: 1 / 0

    monkeypatch.setattr(Timm, "original", original)
    imported = import_checkpoint(saved(tmp_path / "a.pth", tensors[0]), **ASKED)
    assert "not proved: the source's own model" in str(imported.report)
    assert imported.report.proof_db is None


def test_a_network_that_computes_something_else_is_refused(tensors, tmp_path, monkeypatch):
    """The source's model has a bias that the import lacks."""
    other = load_state(NETWORK, tensors[1])
    with torch.no_grad():
        other.blocks[0].mlp.fc2.bias[3] += 0.1
    monkeypatch.setattr(Timm, "original", lambda *_: lambda images, _: other(images))
    with pytest.raises(ImportFailed, match=r"does not compute what the source's own model does \(\d\d dB\)"):
        import_checkpoint(saved(tmp_path / "a.pth", tensors[0]), **ASKED)
    other.load_state_dict(tensors[1])
    assert import_checkpoint(tmp_path / "a.pth", **ASKED).report.proof_db > 100


def test_a_missing_library_is_said(tensors, tmp_path, monkeypatch):
    def missing(name):
        raise NotProved(f"{name} cannot be imported here")

    monkeypatch.setattr("moevit.golden.importers.timm_model.library", missing)
    report = str(import_checkpoint(saved(tmp_path / "a.pth", tensors[0]), **ASKED).report)
    assert "not proved: timm.models.vision_transformer cannot be imported here" in report


def test_the_report_says_everything(tensors, tmp_path):
    theirs = tensors[0] | {"head.weight": torch.ones(5, 32)}
    lines = import_checkpoint(saved(tmp_path / "a.pth", theirs), activation="quick_gelu", **ASKED).report.lines()
    for kind, text in {
        "read": "tensors, 0 MB as float32", "mapped": "1 blocks of dim 32, 2 heads of 16, FFN 64; 16x24 pixels",
        "assumed": "norm_eps 1e-06, as in every vit of timm", "folded": "absent biases are zero",
        "host": "head classifier: final norm, then CLS, 5 outputs", "machine": "0.0214", "proof": "not proved"}.items():
        assert any(line.startswith(kind) and text in line for line in lines), (kind, text, lines)
    assert not any("\n" in line for line in lines)


def test_every_family_has_a_name_of_its_own():
    assert list(FAMILIES) == ["moevit", "timm", "dinov2", "huggingface", "torchvision", "m3vit", "vmoe", "vitpose"]
