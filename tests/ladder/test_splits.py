# SPDX-License-Identifier: Apache-2.0
"""Sums that would overflow the accumulator of 27 bits take several passes, which equal the integer model on the RTL."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer.bounds import check, model_bounds
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.synthetic import synthetic_model
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel
from moevit.spec.splits import channel_parts

#: Two tokens, whose hidden rows fit the 1,024 words of 8x8.
SHORT = Network(name="short", height=8, width=16, patch=8, dim=32, heads=2, depth=1, hidden=64, prefix_tokens=0)


def as_large_as_can_be(model: QuantisedModel, name: str, quieter: int) -> QuantisedModel:
    """``name``, an FFN, with the largest possible sums in fc2.

    Hidden rows are the same in every channel, so that all operands are 255. Weights are +-127, in rows of one sign
    each. ``quieter``: additional bits of fc2's shift, so that little is clipped.
    """
    weight = np.broadcast_to(np.where(np.arange(model.network.dim) % 3, 127, -127).astype(np.int8)[:, None],
                             model[f"{name}.fc2.weight"].shape)
    return replace(model, tensors={
        **model.tensors,
        f"{name}.fc1.weight": np.zeros_like(model[f"{name}.fc1.weight"]),
        f"{name}.fc1.bias": np.full_like(model[f"{name}.fc1.bias"], 3000),
        f"{name}.fc2.weight": np.ascontiguousarray(weight),
        f"{name}.fc2.shift": model[f"{name}.fc2.shift"] + np.uint8(quieter)})


def check_equal(pair, model: QuantisedModel, name: str, parts: int) -> None:
    """Integer model, golden machine and RTL agree. The layer has this many passes, and its whole sum would be too
    large."""
    check(model_bounds(model))
    weight = model[f"{name}.weight"].astype(np.int64)
    assert (255 * np.abs(weight).sum(axis=-1)).max() >= 1 << 26
    assert len(channel_parts(model[f"{name}.weight"])) == parts
    network, both = model.network, pair(model, "8x8")
    image = np.random.default_rng(4).integers(0, 256, (network.height, network.width, 3), dtype=np.uint8)
    want = IntegerModel(model).run(image)
    np.testing.assert_array_equal(both.run(image, network.tasks[0]), want.tokens)
    passes = {each.name for each in both.rtl.report.passes}
    assert {name, f"{name}[{parts - 1}]"} <= passes and f"{name}[{parts}]" not in passes
    assert want.tokens.std() > 100 and (np.abs(want.tokens) < 32767).mean() > 0.9  # not all clipped, so not all alike


@pytest.mark.parametrize("hidden", [3072, 4096])
def test_dense_fc2(pair, hidden):
    model = synthetic_model(replace(SHORT, hidden=hidden), 3)
    check_equal(pair, as_large_as_can_be(model, "blocks.0.mlp", 8), "blocks.0.mlp.fc2", 2)


def test_experts_and_shared_ffn(pair):
    """Each expert adds part by part, and its scores multiply each part."""
    network = replace(SHORT, name="moe", experts=4, top_k=2, expert_hidden=2304, shared_hidden=2304, moe_blocks=(0,))
    model = synthetic_model(network, 3)
    for layer in ("blocks.0.moe", "blocks.0.moe.shared"):
        model = as_large_as_can_be(model, layer, 8)
    for layer in ("blocks.0.moe.fc2", "blocks.0.moe.shared.fc2"):
        check_equal(pair, model, layer, 2)


def test_weights_of_a_task(pair):
    network = replace(SHORT, name="tasks", hidden=2304, task_fc2=True, tasks=("one", "two"))
    check_equal(pair, as_large_as_can_be(synthetic_model(network, 3), "blocks.0.mlp", 8), "blocks.0.mlp.fc2", 2)


def test_patches_of_28_pixels(pair):
    """2,352 values, whose parts end within a line of a patch."""
    network = replace(SHORT, name="patch_28", patch=28, height=28, width=28)
    model = synthetic_model(network, 3)
    weight = np.full_like(model["patch_embed.weight"], 127)
    weight[::2] = -127
    model = replace(model, tensors={**model.tensors, "patch_embed.weight": weight,
                                    "patch_embed.shift": model["patch_embed.shift"] + np.uint8(8)})
    check_equal(pair, model, "patch_embed", 2)


def test_ordinary_weights_are_added_in_one_pass(pair):
    """Ordinary weights use less than half of the accumulator, although 3,072 weights of 127 would be too many."""
    model = synthetic_model(replace(SHORT, hidden=3072), 3)
    assert all(bound.used < 0.5 for bound in model_bounds(model) if bound.name.endswith("fc2 accumulator"))
    both = pair(model, "8x8")
    image = np.random.default_rng(4).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(both.run(image, "tokens"), IntegerModel(model).run(image).tokens)
    assert not any("[" in name for name in both.names)
