# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from moevit.golden.integer.bounds import BoundsError, check, model_bounds
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import CalibrationError, RangeError, quantise
from moevit.golden.quant.quantiser import layer_count
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images, synthetic_model
from moevit.golden.reference import CheckpointError
from moevit.spec.formats import BIAS_MASKED
from moevit.spec.networks import NETWORKS
from moevit.spec.quantised import QuantisedModel

TINY = NETWORKS["tiny_test"]


@pytest.fixture
def tensors():
    return synthetic_checkpoint(TINY, 7)


@pytest.fixture(scope="module")
def images():
    return synthetic_images(TINY, 7, 2)


def test_same_inputs_same_integers_and_a_file_between(tensors, images, tmp_path):
    first, again = (quantise(TINY, tensors, images) for _ in range(2))
    first.save(tmp_path / "model.npz")
    loaded = QuantisedModel.load(tmp_path / "model.npz")
    assert loaded.network == TINY and loaded.residual_fraction == first.residual_fraction
    assert loaded.notes == first.notes
    for name in first.tensors:
        np.testing.assert_array_equal(first[name], again[name], err_msg=name)
        np.testing.assert_array_equal(first[name], loaded[name], err_msg=name)


def test_head_tensors_pass_and_each_layer_is_announced(tensors, images):
    seen = []
    quantise(TINY, {**tensors, "heads.depth.weight": np.zeros((1, 32), np.float32)}, images, watch=seen.append)
    assert len(seen) == len(set(seen)) == layer_count(TINY)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(tensors, images, value):
    tensors["blocks.1.moe.experts.fc1.weight"][2, 0, 0] = value
    with pytest.raises(CheckpointError, match="blocks.1.moe.experts.fc1.weight holds 1 values that are NaN"):
        quantise(TINY, tensors, images)


def test_missing_unexpected_and_misshapen_tensors(tensors, images):
    bias = tensors.pop("blocks.0.norm1.bias")
    with pytest.raises(CheckpointError, match="blocks.0.norm1.bias is missing"):
        quantise(TINY, tensors, images)
    with pytest.raises(CheckpointError, match="blocks.0.norm1.bias has shape"):
        quantise(TINY, {**tensors, "blocks.0.norm1.bias": bias[1:]}, images)
    with pytest.raises(CheckpointError, match="blocks.7.norm1.bias is no tensor"):
        quantise(TINY, {**tensors, "blocks.0.norm1.bias": bias, "blocks.7.norm1.bias": bias}, images)
    with pytest.raises(CheckpointError, match="blocks.0.norm1.bias is torch.float64"):
        quantise(TINY, {**tensors, "blocks.0.norm1.bias": bias.astype(np.float64)}, images)


def test_calibration_images_that_say_nothing(tensors, images):
    with pytest.raises(CalibrationError, match="no calibration images"):
        quantise(TINY, tensors, images[:0])
    with pytest.raises(CalibrationError, match="every one of the 3 calibration images is a single colour"):
        quantise(TINY, tensors, np.full((3, TINY.height, TINY.width, 3), 9, np.uint8))
    with pytest.raises(CalibrationError, match=r"u8 images \(images, 16, 32, 3\), not on float64"):
        quantise(TINY, tensors, images / 255)
    with pytest.raises(CalibrationError, match=r"not on uint8 \(2, 32, 16, 3\)"):
        quantise(TINY, tensors, images.transpose(0, 2, 1, 3))


def test_one_plain_image_among_others_is_fine(tensors, images):
    plain = np.zeros_like(images[:1])
    quantise(TINY, tensors, np.concatenate([images, plain]))


@pytest.mark.parametrize("layer", [
    "patch_embed.proj", "blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2",
    "blocks.1.norm2", "blocks.1.moe.gate", "blocks.1.moe.experts.fc2",
])
def test_a_dead_layer_works(tensors, images, layer):
    for part in ("weight", "bias"):
        tensors[f"{layer}.{part}"] = np.zeros_like(tensors[f"{layer}.{part}"])
    for compensate in (False, True):
        frame = IntegerModel(quantise(TINY, tensors, images, compensate=compensate)).run(images[0])
        assert frame.tokens.any() and sum(frame.saturated.values()) <= 20


def test_a_network_of_zeros():
    tensors = {name: np.zeros_like(tensor) for name, tensor in synthetic_checkpoint(TINY, 7).items()}
    images = synthetic_images(TINY, 7, 1)
    assert not IntegerModel(quantise(TINY, tensors, images)).run(images[0]).tokens.any()


def test_masked_experts(tensors, images):
    mask = np.ones((2, 4), bool)
    mask[1, [0, 2]] = False
    model = quantise(TINY, {**tensors, "blocks.1.moe.gate.mask": mask}, images)
    order = model["blocks.1.moe.order"]
    np.testing.assert_array_equal(model["blocks.1.moe.gate.bias"] == BIAS_MASKED, ~mask[:, order])
    assert set(order[np.unique(IntegerModel(model).run(images[0], 1).trace["1.top_k_index"])]) == {1, 3}


def test_a_gate_bias_never_masks_by_accident(tensors, images):
    tensors["blocks.1.norm2.bias"][:] = 0
    tensors["blocks.1.moe.gate.bias"][0, 0] = -128 * np.log(2)
    with pytest.raises(RangeError, match=r"blocks.1.moe.gate.bias\[0, 0\] = -88.72 is -32768 .* beyond -32767"):
        quantise(TINY, tensors, images, compensate=False)


def test_values_out_of_range_name_their_tensor(tensors, images):
    tensors["blocks.0.mlp.fc1.bias"][3] = 70
    with pytest.raises(RangeError, match=r"blocks.0.mlp.fc1.bias\[3\]"):
        quantise(TINY, tensors, images)


def test_a_residual_beyond_sixteen_bits(tensors, images):
    tensors["pos_embed"][0, 2, 5] = 3e4
    with pytest.raises(RangeError, match="the residual stream reaches"):
        quantise(TINY, tensors, images)


def test_residual_fraction_leaves_headroom(tensors, images):
    small = quantise(TINY, tensors, images)
    tensors["pos_embed"][0, 2, 5] = 200.0
    large = quantise(TINY, tensors, images)
    assert large.residual_fraction == 6 < small.residual_fraction
    assert np.abs(large["position"]).max() <= 16383


def test_small_layers_lose_nothing_by_their_shift(tensors, images):
    """A layer a thousand times smaller has the same integers and a larger shift."""
    usual = quantise(TINY, tensors, images, compensate=False)
    tensors["blocks.0.attn.proj.weight"] *= np.float32(2.0**-10)
    small = quantise(TINY, tensors, images, compensate=False)
    np.testing.assert_array_equal(usual["blocks.0.attn.proj.weight"], small["blocks.0.attn.proj.weight"])
    assert small["blocks.0.attn.proj.shift"] == usual["blocks.0.attn.proj.shift"] + 10


def test_what_cannot_be_summed_is_refused():
    """An fc1 does not add to the residual, so it cannot be split."""
    network = dataclasses.replace(TINY, dim=2112, depth=1, experts=0, top_k=0, expert_hidden=0)
    tensors = synthetic_checkpoint(network, 7)
    tensors["blocks.0.mlp.fc1.weight"][:] = np.sign(tensors["blocks.0.mlp.fc1.weight"])  # all are +-127
    with pytest.raises(BoundsError, match="blocks.0.mlp.fc1 accumulator reaches -68397120..68397120"):
        quantise(network, tensors, synthetic_images(network, 7, 1), compensate=False)


@pytest.mark.parametrize("name", ["demo", "deit_tiny"])
def test_synthetic_models_of_named_networks(name):
    model = synthetic_model(NETWORKS[name], 1)
    check(model_bounds(model))
    frame = IntegerModel(model).run(synthetic_images(NETWORKS[name], 2, 1)[0])
    assert sum(frame.saturated.values()) < 100 and frame.tokens.std() > 100


def test_synthetic_checkpoints_are_seeded():
    first, again, other = (synthetic_checkpoint(TINY, seed) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert any((first[name] != other[name]).any() for name in first)
