# SPDX-License-Identifier: Apache-2.0
"""Rung 3: the RTL equals the golden machine in every stored word, after every pass and at the end."""

import dataclasses

import numpy as np
import pytest

from moevit.golden.demo.scenes import Scenes
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.images import photographs
from moevit.golden.quant.synthetic import synthetic_model
from moevit.golden.reference.checkpoint import HEADS, read
from moevit.host.errors import WrongInput
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.isa import Destination
from moevit.spec.networks import NETWORKS

from ..conftest import model_of, random_image
from ..published import ROOT

STALLS = MemorySettings(stall=0.4, seed=3, read_latency=90)
SLOW = MemorySettings(bandwidth=0.25)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "portable"])
@pytest.mark.parametrize("name", ["8x8", "8x16", "8x8_wide", "16x16_four"])
def test_tiny_network_both_tasks_with_and_without_stalls(pair, boards, name, packed):
    both = pair(model_of("tiny_test"), name, packed)
    for seed in (2, 3):
        image = random_image("tiny_test", seed)
        for task in ("semseg", "depth"):
            tokens = both.run(image, task)
            for memory in (STALLS, SLOW):
                both.board.memory = memory
                np.testing.assert_array_equal(both.run(image, task), tokens)
            both.board.memory = MemorySettings()


def test_lanes_take_the_same_cycles(pair, tiny_model, tiny_image):
    """Packed and portable lanes have the same latency, so whole runs take the same time."""
    cycles = []
    for packed in (True, False):
        both = pair(tiny_model, "8x8", packed)
        both.run(tiny_image, "depth")
        cycles.append(both.rtl.report.cycles)
    assert cycles[0] == cycles[1]


def test_twenty_runs_without_reset_and_task_switches(pair, tiny_model, tiny_image):
    both = pair(tiny_model, "8x16")
    first = {task: both.run(tiny_image, task) for task in both.rtl.tasks}
    assert not np.array_equal(first["semseg"], first["depth"])
    rng = np.random.default_rng(5)
    for _ in range(18):
        task = str(rng.choice(both.rtl.tasks))
        np.testing.assert_array_equal(both.rtl.run_raw(tiny_image, task), first[task])
    both.run(tiny_image, "semseg")
    with pytest.raises(WrongInput):
        both.rtl.run_raw(tiny_image, "colour")


@pytest.mark.parametrize("block", [1])
@pytest.mark.parametrize("biases, top_k", [
    ([0, 9000, 0, 0], 1),  # all tokens to one expert
    ([-32768, 0, -32768, 0], 2),  # masked experts get no tokens
    ([0, 0, 0, 0], 2),  # equal logits choose the lower experts
    ([0, 0, 0, 0], 4),  # all experts for all tokens
])
def test_routing_corner_cases(pair, tiny_model, tiny_image, block, biases, top_k):
    name = f"blocks.{block}.moe.gate"
    network = dataclasses.replace(tiny_model.network, top_k=top_k)
    gate = {f"{name}.weight": np.zeros_like(tiny_model[f"{name}.weight"]),
            f"{name}.bias": np.tile(np.array(biases, np.int16), (2, 1)),
            f"blocks.{block}.moe.order": np.arange(4, dtype=np.uint8)}
    model = dataclasses.replace(tiny_model, network=network, tensors={**tiny_model.tensors, **gate})
    both = pair(model, "8x8")
    both.run(tiny_image, "depth")
    rows = both.rtl.report.expert_rows[1]
    want = {expert: network.tokens for expert in sorted(range(4), key=lambda e: (-biases[e], e))[:top_k]}
    assert rows == dict(sorted(want.items()))


@pytest.mark.parametrize("name", ["8x8", "8x16"])
@pytest.mark.parametrize("change", [
    {"gate": "sigmoid"}, {"gate": "sigmoid", "renormalise": True}, {"select_bias": True},
    {"gate": "sigmoid", "select_bias": True, "top_k": 1}, {"activation": "relu"}, {"activation": "quick_gelu"},
], ids=lambda change: "-".join(map(str, change.values())))
def test_gates_and_activations(pair, change, name):
    """On the integer model, the golden machine and the RTL. The second task has a memory that stalls."""
    network, image = dataclasses.replace(NETWORKS["tiny_test"], **change), random_image("tiny_test")
    model = synthetic_model(network, 1)
    both = pair(model, name)
    for index, task in enumerate(network.tasks):
        np.testing.assert_array_equal(both.run(image, task), IntegerModel(model).run(image, index).tokens)
        both.board.memory = STALLS
    routing = [each for each in both.program if each.get("destination") == Destination.ROUTER]
    assert [each["sets_bias"] for each in routing] == [1, 0][1 - network.select_bias:]
    assert (routing[-1]["sigmoid"], routing[-1]["biased"]) == (network.gate == "sigmoid", network.select_bias)


def test_renormalised_gate(pair, tiny_model, tiny_image):
    network = dataclasses.replace(tiny_model.network, renormalise=True)
    pair(dataclasses.replace(tiny_model, network=network), "8x8").run(tiny_image, "semseg")


def test_equal_attention_logits(pair, tiny_model, tiny_image):
    """With queries of zero, every key gets the same weight."""
    zero = {name: np.zeros_like(tensor) for name, tensor in tiny_model.tensors.items() if ".attn.query." in name
            and not name.endswith("shift")}
    pair(dataclasses.replace(tiny_model, tensors={**tiny_model.tensors, **zero}), "8x16").run(tiny_image, "depth")


def test_rows_without_variance(pair, tiny_model):
    """A constant residual has a variance of 0 in every row. Only epsilon keeps the root finite."""
    zero = {"position": np.full_like(tiny_model["position"], 77),
            "patch_embed.weight": np.zeros_like(tiny_model["patch_embed.weight"]),
            "patch_embed.bias": np.zeros_like(tiny_model["patch_embed.bias"])}
    both = pair(dataclasses.replace(tiny_model, tensors={**tiny_model.tensors, **zero}), "8x8")
    both.run(random_image("tiny_test"), "depth")


def test_saturation_is_counted_and_clipped_alike(pair, tiny_model, tiny_image):
    loud = {name: np.full_like(tensor, 65535) for name, tensor in tiny_model.tensors.items()
            if name.endswith("column_scale") and "gate" not in name}
    quiet = {name: np.maximum(tensor, 6) - 6 for name, tensor in tiny_model.tensors.items()
             if name.endswith("shift") and "gate" not in name}
    quiet = {name: tensor.astype(np.uint8) for name, tensor in quiet.items()}
    both = pair(dataclasses.replace(tiny_model, tensors={**tiny_model.tensors, **loud, **quiet}), "8x8")
    both.run(tiny_image, "semseg")
    assert both.rtl.report.counters["SATURATED"] > 100


@pytest.mark.parametrize("dim, heads", [(32, 4), (24, 3), (48, 2), (32, 8)],
                         ids=["two heads a tile", "three heads", "heads of three words", "padded heads"])
def test_heads_that_share_a_tile_of_values(pair, dim, heads):
    """Both tasks on 8x16, whose n-tiles are two words. The values of a head may begin with the second word."""
    network = dataclasses.replace(NETWORKS["tiny_test"], name=f"tiny_{dim}_{heads}", dim=dim, heads=heads)
    model = synthetic_model(network, 3)
    both, integer = pair(model, "8x16"), IntegerModel(model)
    assert any(fields.get("first_word") for fields in both.program)
    image = np.random.default_rng(4).integers(0, 256, (network.height, network.width, 3), dtype=np.uint8)
    for index, task in enumerate(both.rtl.tasks):
        for memory in (MemorySettings(), STALLS):
            both.board.memory = memory
            np.testing.assert_array_equal(both.run(image, task), integer.run(image, index).tokens)


@pytest.mark.parametrize("words", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("name", ["8x16_pairs", "8x16"])
def test_last_words_of_a_norm(pair, name, words):
    """Row lengths that the two or three words a cycle of a NORM divide or not.

    There is a copy of two images, and there are rows that begin in any bank.
    """
    network = dataclasses.replace(NETWORKS["tiny_test"], name=f"tiny_{words}_words", dim=8 * words, heads=words)
    model, images = synthetic_model(network, 3), np.stack([random_image("tiny_test", seed) for seed in (2, 3)])
    tokens = pair(model, name, batch=2).run(images, "depth")
    for image, found in zip(images, tokens, strict=True):
        np.testing.assert_array_equal(found, IntegerModel(model).run(image, 1).tokens)


@pytest.mark.parametrize("height, width, prefix", [(8, 8, 0), (8, 8, 1), (32, 64, 0)],
                         ids=["1 token", "2 tokens", "32 tokens: the most of 8x8"])
def test_fewest_and_most_tokens(pair, height, width, prefix):
    network = dataclasses.replace(NETWORKS["tiny_test"], name=f"tiny_{height}x{width}_{prefix}", height=height,
                                  width=width, prefix_tokens=prefix)
    image = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pair(synthetic_model(network, 3), "8x8").run(image, "depth")


@pytest.fixture(scope="module")
def demo_model():
    """The shipped model, quantised as in `make sim`."""
    network, tensors, _ = read(ROOT / "models" / "demo" / "demo.safetensors")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith(HEADS)}
    return quantise(network, arrays, photographs(network, 4))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "portable"])
def test_demo_network_both_tasks_with_and_without_stalls(pair, demo_model, packed):
    both, integer = pair(demo_model, "16x16", packed), IntegerModel(demo_model)
    image = Scenes("test")[0].image
    for index, task in enumerate(both.rtl.tasks):
        for memory in (MemorySettings(), STALLS):
            both.board.memory = memory
            tokens = both.run(image, task)
        np.testing.assert_array_equal(tokens, integer.run(image, index).tokens)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["32x32", "32x64", "64x64"])
def test_demo_network_on_larger_arrays(pair, name):
    pair(model_of("demo"), name).run(random_image("demo"), "semseg")
