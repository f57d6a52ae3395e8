# SPDX-License-Identifier: Apache-2.0
"""Corner cases of the integer frame. Other tests compare it with the compiled program."""

import dataclasses

import numpy as np
import pytest

from moevit.golden.integer.frame import FrameError
from moevit.golden.integer.model import IntegerModel, patch_rows
from moevit.golden.quant import quantise
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images, synthetic_model
from moevit.spec.formats import BIAS_MASKED
from moevit.spec.networks import NETWORKS

TINY = NETWORKS["tiny_test"]


@pytest.fixture(scope="module")
def model():
    return synthetic_model(TINY, 1)


@pytest.fixture(scope="module")
def image():
    return synthetic_images(TINY, 2, 1)[0]


def with_tensor(model, name, change):
    tensor = model[name].copy()
    change(tensor)
    return dataclasses.replace(model, tensors={**model.tensors, name: tensor})


def test_patches_are_row_column_channel():
    shape = TINY.height, TINY.width, 3
    image = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    rows = patch_rows(TINY, image)
    assert rows.shape == (8, 192)
    np.testing.assert_array_equal(rows[5], image[8:16, 8:16].reshape(-1))


def test_same_image_same_tokens_and_tasks_differ(model, image):
    integer = IntegerModel(model)
    first, again, other = integer.run(image, 0), integer.run(image, 0), integer.run(image, 1)
    np.testing.assert_array_equal(first.tokens, again.tokens)
    np.testing.assert_array_equal(first.trace["1.x_post_attn"], other.trace["1.x_post_attn"])
    assert (first.tokens != other.tokens).any()


def test_every_stored_value_is_in_its_range(model, image):
    trace = IntegerModel(model).run(image).trace
    for name, limit in (("q", 255), ("k", 127), ("v", 127), ("attn_logits", 32768), ("attn_out", 32768)):
        assert np.abs(trace[f"0.{name}"]).max() <= limit
    assert trace["0.attn_logits"].shape == (2, 9, 9) and trace["1.gelu"].shape == (9, 2, 32)
    assert trace["1.top_k_score"].min() >= 0 and trace["1.top_k_score"].max() <= 65536


def test_wrong_images_and_tasks_are_refused(model, image):
    integer = IntegerModel(model)
    with pytest.raises(FrameError, match=r"u8 images \(16, 32, 3\), not uint8 \(32, 16, 3\)"):
        integer.run(image.transpose(1, 0, 2))
    with pytest.raises(FrameError, match="not float64"):
        integer.run(image / 255)
    with pytest.raises(FrameError, match="none is number 2"):
        integer.run(image, 2)


def test_a_masked_expert_gets_nothing(model, image):
    def mask(bias):
        bias[0, 2] = BIAS_MASKED

    trace = IntegerModel(with_tensor(model, "blocks.1.moe.gate.bias", mask)).run(image, 0).trace
    assert (trace["1.top_k_index"] != 2).all() and (trace["1.gate_logits"][:, 2] == -(1 << 23)).all()


def test_all_tokens_to_two_experts(model, image):
    experts = [model["blocks.1.moe.order"].tolist().index(expert) for expert in (3, 1)]

    def prefer(bias):
        bias[0, experts] = 20_000, 16_000

    frame = IntegerModel(with_tensor(model, "blocks.1.moe.gate.bias", prefer)).run(image, 0)
    np.testing.assert_array_equal(frame.trace["1.top_k_index"], [experts] * TINY.tokens)
    assert (frame.trace["1.top_k_score"][:, 0] >= 65500).all()


def test_expert_outputs_are_clipped_one_after_another(model, image):
    """The residual is clipped after each expert, so their order matters."""
    def high(bias):
        bias[:] = 0
        bias[0], bias[1] = 32767, -32768

    def prefer(bias):
        bias[0] = 20_000, 20_000, -20_000, -20_000

    loud = with_tensor(with_tensor(model, "blocks.1.moe.fc2.bias", high), "blocks.1.moe.gate.bias", prefer)
    for name in ("weight", "column_scale"):
        loud = with_tensor(loud, f"blocks.1.moe.fc2.{name}", lambda tensor: tensor.fill(0))
    loud = with_tensor(loud, "blocks.1.moe.gate.weight", lambda tensor: tensor.fill(0))
    frame = IntegerModel(loud).run(image, 0)
    x, scores = frame.trace["1.x_post_attn"], frame.trace["1.top_k_score"]
    first = (32767 * scores[:, :1] + (1 << 15)) >> 16
    second = (-32768 * scores[:, 1:] + (1 << 15)) >> 16
    np.testing.assert_array_equal(frame.tokens, np.clip(np.clip(x + first, -32768, 32767) + second, -32768, 32767))


def test_saturation_is_counted_where_it_happens(model, image):
    frame = IntegerModel(with_tensor(model, "blocks.0.attn.value.bias", lambda bias: bias.fill(32767))).run(image)
    assert frame.saturated["0.v"] == TINY.tokens * TINY.dim
    assert (frame.trace["0.v"] == 127).all()


def test_equal_logits_mix_all_values_evenly(model, image):
    def silence(tensor):
        tensor.fill(0)

    even = with_tensor(with_tensor(model, "blocks.0.attn.query.weight", silence), "blocks.0.attn.query.bias", silence)
    trace = IntegerModel(even).run(image).trace
    assert not trace["0.attn_logits"].any()
    mean = trace["0.v"].mean(axis=0) * 256
    assert np.abs(trace["0.attn_out"] - mean).max() <= 0.5 + np.abs(mean).max() * 2.0**-10.9


def test_a_constant_image_through_constant_rows():
    """Rows without variance are normalised to zero. Only the biases remain."""
    checkpoint = synthetic_checkpoint(TINY, 4)
    for name in ("patch_embed.proj.weight", "pos_embed", "prefix_tokens", "patch_embed.proj.bias"):
        checkpoint[name] = np.zeros_like(checkpoint[name])
    model = quantise(TINY, checkpoint, synthetic_images(TINY, 1, 1))
    frame = IntegerModel(model).run(np.full((TINY.height, TINY.width, 3), 255, np.uint8))
    assert not frame.trace["x_embed"].any() and not frame.trace["0.k"].any() and frame.tokens.any()
    assert (frame.tokens == frame.tokens[0]).all()


@pytest.mark.parametrize("change", [
    {}, {"prefix_tokens": 0}, {"prefix_tokens": 2}, {"renormalise": True}, {"top_k": 1}, {"top_k": 4},
    {"heads": 4}, {"dim": 24, "heads": 3}, {"experts": 0, "top_k": 0, "expert_hidden": 0, "tasks": ("tokens",)},
    {"depth": 3, "height": 8, "width": 8}, {"hidden": 40, "expert_hidden": 24},
])
def test_equal_to_the_compiled_program(change):
    from moevit.compiler.assemble import compile_model
    from moevit.golden.machine.machine import Machine
    from moevit.spec.arrays import CONFIGS
    from moevit.spec.isa import Region

    network = dataclasses.replace(TINY, **change)
    config, seed = CONFIGS["8x8"], 6
    model, image = synthetic_model(network, seed), synthetic_images(network, seed, 1)[0]
    bundle = compile_model(model, config)
    for task in range(len(network.tasks)):
        memory = {Region.WEIGHTS: 1 << 20, Region.GATES: 1 << 28, Region.IMAGE: 1 << 29}
        parts = {0: bundle.program, 1 << 20: bundle.weights, 1 << 29: image.tobytes(),
                 1 << 28: bundle.gates[task * bundle.manifest["gate_stride"]:]}
        out = {}

        def read(address, size, parts=parts):
            base = max(start for start in parts if start <= address)
            return np.frombuffer(parts[base], np.uint8)[address - base:address - base + size]

        run = Machine(config, read, out.__setitem__).run(memory, 0, 0, bundle.program_length)
        rows = out[0].view("<i2").reshape(network.tokens, -1)[:, :network.dim]
        frame = IntegerModel(model).run(image, task)
        np.testing.assert_array_equal(frame.tokens, rows, err_msg=f"seed {seed}, task {task}")
        assert run.saturated == sum(frame.saturated.values())
