# SPDX-License-Identifier: Apache-2.0
"""moevit checkpoints, as they are and with parts that a training adds under timm's names."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import ImportFailed, Unreadable
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load_state, pixels, read
from moevit.spec.networks import NETWORKS, Network

from .conftest import IMAGENET, assert_integer_equals_machine, assert_same, images_of, output, prepared, reference

PLAIN = Network(name="vit", height=32, width=32, patch=8, dim=32, heads=2, depth=2, hidden=64, final_norm=True)
TINY = NETWORKS["tiny_test"]


def tensors_of(network, **more):
    return {name: torch.from_numpy(value) for name, value in synthetic_checkpoint(network, 1).items()} | more


def saved(path, network, tensors, **metadata):
    save_file({name: value.contiguous() for name, value in tensors.items()}, path,
              metadata={"network": json.dumps(dataclasses.asdict(network)), **metadata})
    return path


@pytest.mark.parametrize("network", [PLAIN, TINY], ids=lambda network: network.name)
def test_it_comes_back_as_it_was(tmp_path, network):
    tensors = tensors_of(network)
    imported = import_checkpoint(saved(tmp_path / "own.safetensors", network, tensors))
    assert imported.network == network
    assert imported.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(imported.tensors[name], value, rtol=0, atol=0)
    imported.save(tmp_path / "again.safetensors")
    again = import_checkpoint(tmp_path / "again.safetensors")
    assert again.network == network and again.host == imported.host
    assert_integer_equals_machine(again)


def test_what_is_saved_is_read_by_the_reference(tmp_path):
    imported = import_checkpoint(saved(tmp_path / "own.safetensors", PLAIN, tensors_of(PLAIN)))
    imported.save(tmp_path / "imported.safetensors")
    checkpoint = read(tmp_path / "imported.safetensors")
    assert checkpoint.network == PLAIN and checkpoint.host == imported.host
    assert set(checkpoint.tensors) == set(imported.tensors) | set(imported.heads)
    assert set(imported.heads) == {"heads.features.norm.weight", "heads.features.norm.bias"}


def test_a_mask_stays_boolean(tmp_path):
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[0, 0] = False
    tensors = tensors_of(TINY, **{"blocks.1.moe.gate.mask": mask})
    imported = import_checkpoint(saved(tmp_path / "own.safetensors", TINY, tensors))
    assert torch.equal(imported.tensors["blocks.1.moe.gate.mask"], mask)


def test_normalisation_is_folded_into_the_patches(tmp_path):
    """A network trained on normalised pixels gives the same tokens from u8 as from normalised pixels."""
    tensors = tensors_of(PLAIN)
    images = images_of(PLAIN)
    want = load_state(PLAIN, tensors).trace(prepared(images, *IMAGENET))["tokens"]
    path = saved(tmp_path / "own.safetensors", PLAIN, tensors)
    assert_same(reference(import_checkpoint(path, normalise="imagenet"), images), want)
    by_hand = import_checkpoint(path, mean=IMAGENET[0], std=IMAGENET[1])
    assert_same(reference(by_hand, images), want)
    by_hand.save(tmp_path / "folded.safetensors")
    with pytest.raises(ImportFailed, match="imported already"):
        import_checkpoint(tmp_path / "folded.safetensors", normalise="imagenet")
    assert_same(reference(import_checkpoint(tmp_path / "folded.safetensors"), images), want)


def test_layer_scale_is_folded(tmp_path):
    """One block by hand, x += gamma * attention(norm1(x)), against the fold."""
    network = dataclasses.replace(PLAIN, depth=1)
    rng = torch.Generator().manual_seed(3)
    gain = {name: torch.rand(32, generator=rng) + 0.2 for name in ("blocks.0.ls1.gamma", "blocks.0.ls2.gamma")}
    tensors, images = tensors_of(network), images_of(network)
    plain = load_state(network, tensors)
    block, x = plain.blocks[0], plain.trace(pixels(images))["x_embed"]
    with torch.no_grad():
        x = x + gain["blocks.0.ls1.gamma"] * block.attn(block.norm1(x))
        want = x + gain["blocks.0.ls2.gamma"] * block.mlp(block.norm2(x))
    imported = import_checkpoint(saved(tmp_path / "own.safetensors", network, tensors | gain))
    assert_same(reference(imported, images), want)
    assert "LayerScale" in str(imported.report)
    with pytest.raises(ImportFailed, match="blocks.1.ls2.gamma"):
        import_checkpoint(saved(tmp_path / "moe.safetensors", TINY,
                                tensors_of(TINY, **{"blocks.1.ls2.gamma": torch.ones(32)})))


def test_a_classifier_is_left_to_the_host(tmp_path):
    rng = torch.Generator().manual_seed(4)
    weight, bias = torch.randn(5, 32, generator=rng), torch.randn(5, generator=rng)
    tensors = tensors_of(PLAIN, **{"head.weight": weight, "head.bias": bias})
    imported = import_checkpoint(saved(tmp_path / "own.safetensors", PLAIN, tensors))
    assert imported.host["heads"]["classifier"] == {"pool": "cls", "norm": "tokens", "task": None, "classes": None}
    images = images_of(PLAIN)
    tokens = reference(imported, images)
    cls = F.layer_norm(tokens, (32,), tensors["norm.weight"], tensors["norm.bias"], PLAIN.norm_eps)[:, 0]
    assert_same(output(imported, "classifier", tokens), cls @ weight.T + bias)
    pooled = import_checkpoint(tmp_path / "own.safetensors", pool="mean")
    assert pooled.host["heads"]["classifier"]["pool"] == "mean"
    per_patch = tensors | {"head.weight": weight[:, :, None, None]}
    segmentation = import_checkpoint(saved(tmp_path / "patches.safetensors", PLAIN, per_patch))
    assert segmentation.host["heads"]["classifier"]["pool"] == "patches"
    assert output(segmentation, "classifier", tokens).shape == (1, 16, 5)


def test_the_heads_of_the_demo_are_kept():
    imported = import_checkpoint("models/demo/demo.safetensors")
    assert imported.host["heads"] == {
        name: {"pool": "patches", "norm": "tokens", "task": name, "classes": None} for name in ("depth", "semseg")}
    assert imported.heads["heads.semseg.fc.weight"].shape == (11, 64)


def test_positions_are_resampled(need, tmp_path):
    """timm's own function gives the expected positions, with and without the CLS row."""
    resample = need("timm.layers").resample_abs_pos_embed
    for prefix in (0, 1):
        network = dataclasses.replace(PLAIN, prefix_tokens=prefix)
        tensors = tensors_of(network)
        imported = import_checkpoint(saved(tmp_path / "own.safetensors", network, tensors), image=(64, 48))
        assert (imported.network.height, imported.network.width) == (64, 48)
        want = resample(tensors["pos_embed"], [8, 6], [4, 4], num_prefix_tokens=prefix)
        torch.testing.assert_close(imported.tensors["pos_embed"], want)
        assert "positions of 4x4 patches to 8x6, bicubic as timm does it" in str(imported.report)
        assert np.isfinite(reference(imported, images_of(imported.network)).numpy()).all()


def test_tasks_have_a_default(tmp_path):
    fields = {name: value for name, value in dataclasses.asdict(PLAIN).items() if name != "tasks"}
    save_file(tensors_of(PLAIN), tmp_path / "own.safetensors", metadata={"network": json.dumps(fields)})
    assert import_checkpoint(tmp_path / "own.safetensors").network.tasks == ("tokens",)


@pytest.mark.parametrize("metadata, error, match", [
    ("{", Unreadable, "not JSON"), ("[]", Unreadable, "object"), ("{}", ImportFailed, "lacks depth"),
    ('{"colour": 1}', ImportFailed, "colour")])
def test_bad_metadata(tmp_path, metadata, error, match):
    save_file(tensors_of(PLAIN), tmp_path / "own.safetensors", metadata={"network": metadata})
    with pytest.raises(error, match=match):
        import_checkpoint(tmp_path / "own.safetensors")


def test_options_that_contradict_the_metadata_are_refused(tmp_path):
    path = saved(tmp_path / "own.safetensors", PLAIN, tensors_of(PLAIN))
    with pytest.raises(ImportFailed, match="--heads 4"):
        import_checkpoint(path, heads=4)
    with pytest.raises(ImportFailed, match="multiple of patch"):
        import_checkpoint(path, image=(33, 32))
