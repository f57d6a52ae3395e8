# SPDX-License-Identifier: Apache-2.0
"""Tokens go to the float model's experts, on trained gates and end to end.

``-s`` prints the tables of docs/quantisation.md.
"""

import numpy as np

from moevit.golden.demo.scenes import Scenes
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.fidelity import CLEAR, Routes, compare, routed
from moevit.golden.quant.images import photographs
from moevit.golden.reference import load, read

from ...published import ROOT

DEMO = ROOT / "models" / "demo" / "demo.safetensors"
LEAST = 0.99  # of the tokens whose lead is above CLEAR times the gate's noise
SCENES = 16


def test_demo_on_scenes_that_calibration_has_not_seen():
    network, tensors, _ = read(DEMO)
    model = quantise(network, {name: tensor.numpy() for name, tensor in tensors.items()}, photographs(network, 16))
    found = compare(load(DEMO), model, Scenes("test").batch(0, SCENES)[0])
    for block, share in found.clear_routing.items():
        print(f"\ndemo, block {block}: gate noise {found.gate_noise[block]:.4f}, same experts "
              f"{found.routing[block]:.2%}, with a clear lead {share:.2%} of {found.clear[block]}", end="")
        assert share >= LEAST and found.clear[block] > SCENES * network.tokens
    assert set(found.clear_routing) == {1, 3}


def test_published_gates_from_the_image_on(published, quantised):
    """Both tasks are counted together, because the image has only 129 tokens."""
    routes = []
    for task in range(2):
        golden = {f"1.{name}": published.golden[f"l1_{file}_task{task}"]
                  for name, file in (("gate_logits", "gate_logits"), ("top_k_index", "top2_idx"))}
        routes.append(routed(quantised, IntegerModel(quantised).run(published.image, task), golden, 1, task))
    found = Routes(*(np.concatenate(parts) for parts in zip(*routes, strict=True)))
    clear = found.lead > CLEAR * found.error.std()
    print(f"\npublished, block 1: gate noise {found.error.std():.4f}, same experts {found.same.mean():.2%}, "
          f"with a clear lead {found.same[clear].mean():.2%} of {clear.sum()}")
    assert found.same[clear].mean() >= LEAST and clear.sum() > 100


def test_a_gate_that_is_off_is_seen(published, quantised):
    """The same figures for a model with wrong numbers of its experts."""
    golden = {"1.gate_logits": published.golden["l1_gate_logits_task0"],
              "1.top_k_index": published.golden["l1_top2_idx_task0"]}
    frame = IntegerModel(quantised).run(published.image, 0)
    frame.trace["1.top_k_index"] = (frame.trace["1.top_k_index"] + 1) % 16
    found = routed(quantised, frame, golden, 1, 0)
    clear = found.lead > CLEAR * found.error.std()
    assert found.same[clear].mean() < 0.5
