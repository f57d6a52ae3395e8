# SPDX-License-Identifier: Apache-2.0
"""Integers against float on the published weights of m3vit_tiny and its image; ``-s`` prints the tables of
docs/quantisation.md. Calibration never sees that image."""

from dataclasses import dataclass

import numpy as np
import pytest

from moevit.golden.integer import model as integer_model
from moevit.golden.integer.model import Frame, IntegerModel
from moevit.golden.integer.row_scale import digits
from moevit.golden.quant import quantise
from moevit.golden.quant.fidelity import dequantised, sqnr
from moevit.golden.quant.images import photographs
from moevit.golden.quant.quantiser import LOG2_E
from moevit.spec.isa import Saturation
from moevit.spec.quantised import QuantisedModel

IMAGES = 16
CLEAR = 0.02  # lead, in float logits, of an expert that is chosen over the next one


@dataclass(frozen=True)
class Outcome:
    """SQNR in dB of what the float files have, task 0; per task the share of tokens with the same experts, how many of
    the clear ones have others, and the standard deviation of the gate's error."""

    sqnr: dict[str, float]
    same: tuple[float, float]
    clear_wrong: tuple[int, int]
    gate_noise: tuple[float, float]


def measure(published, quantised: QuantisedModel, from_image: bool = True) -> Outcome:
    """Run the integer model from the image, or from the float ``x_embed``."""
    integer, golden, found = IntegerModel(quantised), published.golden, []
    decibels = {}
    for task in range(2):
        if from_image:
            frame = integer.run(published.image, task)
        else:
            x = np.rint(golden["x_embed"] * 2.0**quantised.residual_fraction).astype(np.int64)
            frame = integer.run_blocks(Frame({"x_embed": x}), x, task)
        if task == 0:
            decibels = {name: sqnr(reference, value)
                        for name, value, reference in dequantised(quantised, published.tensors, frame,
                                                                  _Names(golden), task) if reference is not None}
        logits, float_logits = frame.trace["1.gate_logits"] / (65536 * LOG2_E), golden[f"l1_gate_logits_task{task}"]
        same = (np.sort(frame.trace["1.top_k_index"]) == np.sort(golden[f"l1_top2_idx_task{task}"])).all(axis=1)
        descending = -np.sort(-float_logits)
        clear = descending[:, 1] - descending[:, 2] > CLEAR
        found.append((same.mean(), int((clear & ~same).sum()), (logits - float_logits).std()))
    return Outcome(decibels, *zip(*found, strict=True))


class _Names(dict):
    """The float files under the reference's names; None where they have nothing."""

    def __init__(self, golden):
        super().__init__({"x_embed": golden["x_embed"]})
        for name, value in golden.items():
            if name.startswith(("l0_", "l1_")):
                self[f"{name[1]}.{name[3:]}"] = value
        self["1.gate_logits"] = golden["l1_gate_logits_task0"]

    def __missing__(self, name):
        return None


@pytest.fixture(scope="module")
def calibration(published):
    return photographs(published.network, IMAGES)


@pytest.fixture(scope="module")
def quantised(published, calibration):
    return quantise(published.network, published.tensors, calibration)


def test_block_0(published, quantised):
    found = measure(published, quantised)
    print("\nSQNR from the image, dB: " + ", ".join(f"{name} {value:.1f}" for name, value in found.sqnr.items()))
    assert found.sqnr["0.x_post_mlp"] >= 45
    floors = {"x_embed": 58, "0.q": 36, "0.k": 34, "0.v": 35, "0.attn_logits": 36, "0.attn_out": 44,
              "0.x_post_attn": 48, "0.gelu": 38, "1.attn_out": 39, "1.x_post_attn": 44, "1.gate_logits": 39}
    for name, floor in floors.items():
        assert found.sqnr[name] >= floor, name


@pytest.mark.parametrize("from_image", [True, False], ids=["from the image", "from float tokens"])
def test_routing_of_block_1(published, quantised, from_image):
    found = measure(published, quantised, from_image)
    print(f"\nrouting: same experts {found.same[0]:.1%}, {found.same[1]:.1%}; of those with a lead above {CLEAR} "
          f"different {found.clear_wrong}; gate noise {found.gate_noise[0]:.4f}, {found.gate_noise[1]:.4f}")
    assert found.clear_wrong == (0, 0)
    assert min(found.same) >= 0.95


def test_what_each_choice_is_worth(published, calibration, quantised, monkeypatch):
    """Compensated rounding, and nine-bit operands, against the plain choice; the plain choice too meets the target."""
    block = {"all": measure(published, quantised)}
    nearest = quantise(published.network, published.tensors, calibration, compensate=False)
    block["rounded to nearest"] = measure(published, nearest)
    with monkeypatch.context() as patch:
        patch.setattr(integer_model, "digits", _eight_bits)
        patch.setattr(integer_model.IntegerModel, "_linear", _eight_bit_queries)
        block["eight-bit operands"] = measure(published, quantised)
        block["eight-bit operands, rounded to nearest"] = measure(published, nearest)
    print()
    for name, outcome in block.items():
        print(f"{name}: block 0 {outcome.sqnr['0.x_post_mlp']:.1f} dB, block 1 after attention "
              f"{outcome.sqnr['1.x_post_attn']:.1f} dB, gate noise {np.mean(outcome.gate_noise):.4f}")
    decibel = {name: outcome.sqnr["0.x_post_mlp"] for name, outcome in block.items()}
    assert decibel["rounded to nearest"] >= 39
    assert decibel["all"] >= decibel["rounded to nearest"] + 2
    assert decibel["all"] >= decibel["eight-bit operands"] + 2


def _eight_bits(q):
    """The high digit as it would be in -127..127, on the scale of 255."""
    return np.rint(q * (127 / 32640)) * (255 / 127), digits(q)[1]


_linear = IntegerModel._linear


def _eight_bit_queries(self, *arguments, **options):
    rows = _linear(self, *arguments, **options)
    return 2 * ((rows + 1) >> 1) if options.get("saturation") == Saturation.OPERAND else rows


@pytest.mark.slow
def test_other_calibration_images(published):
    """Eight sets of images: the block's SQNR hardly moves; how often a clear token goes elsewhere is printed."""
    print()
    wrong = []
    for seed in range(8):
        found = measure(published, quantise(published.network, published.tensors,
                                            photographs(published.network, IMAGES, seed)))
        wrong.append(found.clear_wrong)
        print(f"calibration set {seed}: block 0 {found.sqnr['0.x_post_mlp']:.1f} dB, same experts {found.same[0]:.1%}, "
              f"{found.same[1]:.1%}, clear tokens routed otherwise {found.clear_wrong}")
        assert found.sqnr["0.x_post_mlp"] >= 45
    assert np.sum(wrong) <= 4
