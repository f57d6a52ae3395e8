# SPDX-License-Identifier: Apache-2.0
"""A batch on the RTL: every word equals the golden machine's, every image is as if alone, weights are read once."""

import dataclasses

import numpy as np
import pytest

from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.synthetic import synthetic_model
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.networks import NETWORKS

from ..conftest import model_of

STALLS = MemorySettings(stall=0.4, seed=3, read_latency=90)
SLOW = MemorySettings(bandwidth=0.25)


def images_of(network, batch: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, network.height, network.width, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("name", ["8x8", "8x16"])
def test_batch_both_tasks_with_and_without_stalls(pair, name, batch):
    """With 9 tokens an image, keys of odd images would begin inside a word of an 8x16 machine without a gap."""
    model = model_of("tiny_test")
    both, integer = pair(model, name, batch=batch), IntegerModel(model)
    for seed in (4, 5):
        images = images_of(model.network, batch, seed)
        for index, task in enumerate(both.rtl.tasks):
            frames = [integer.run(image, index) for image in images]
            for memory in (MemorySettings(), STALLS, SLOW):
                both.board.memory = memory
                np.testing.assert_array_equal(both.run(images, task), [frame.tokens for frame in frames])
            report = both.rtl.report
            assert report.counters["SATURATED"] == sum(sum(frame.saturated.values()) for frame in frames)
            order = model["blocks.1.moe.order"]
            chosen = order[np.concatenate([frame.trace["1.top_k_index"].ravel() for frame in frames])]
            assert report.expert_rows[1] == dict(zip(*np.unique(chosen, return_counts=True), strict=True))


@pytest.mark.parametrize("dim, heads", [(32, 4), (48, 2)])
def test_heads_that_share_a_tile_of_values(pair, dim, heads):
    network = dataclasses.replace(NETWORKS["tiny_test"], name=f"tiny_{dim}_{heads}", dim=dim, heads=heads)
    model = synthetic_model(network, 3)
    images, both = images_of(network, 2, 8), pair(model, "8x16", batch=2)
    for index, task in enumerate(both.rtl.tasks):
        expected = [IntegerModel(model).run(image, index).tokens for image in images]
        for memory in (MemorySettings(), STALLS):
            both.board.memory = memory
            np.testing.assert_array_equal(both.run(images, task), expected)


@pytest.mark.parametrize("prefix", [0, 2])
def test_prefixes(pair, prefix):
    """Images without a prefix follow one another without a gap. Two prefix tokens make a gap of two rows."""
    network = dataclasses.replace(NETWORKS["tiny_test"], name=f"tiny_{prefix}", prefix_tokens=prefix)
    model = synthetic_model(network, 3)
    images = images_of(network, 2, 6)
    tokens = pair(model, "8x16", batch=2).run(images, "depth")
    np.testing.assert_array_equal(tokens, [IntegerModel(model).run(image, 1).tokens for image in images])


def test_weights_are_fetched_once(pair):
    """The same image three times routes its tokens to the same experts, so only images and program grow."""
    model = model_of("tiny_test")
    image, found = images_of(model.network, 1, 7), []
    for batch in (1, 3):
        both = pair(model, "8x8", batch=batch, speculate=0)
        both.run(np.repeat(image, batch, axis=0), "depth")
        found.append((both.rtl.report, 64 * both.rtl.bundle.program_length))
    (one, one_program), (three, three_program) = found
    assert three.counters["BYTES_READ"] - three_program == one.counters["BYTES_READ"] - one_program + 2 * image.size
    assert three.expert_rows == {1: {e: 3 * rows for e, rows in one.expert_rows[1].items()}}
    assert three.macs == 3 * one.macs
