# SPDX-License-Identifier: Apache-2.0
"""Integers against the published float values, from the image to the gates of block 1."""

from dataclasses import dataclass

import numpy as np
import pytest

from moevit.golden.integer.frame import Frame
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.fidelity import CLEAR, dequantised, sqnr
from moevit.golden.quant.images import photographs
from moevit.golden.quant.integer_tensors import LOG2_E
from moevit.spec.quantised import QuantisedModel

IMAGES = 16


@pytest.fixture(scope="session")
def calibration(published) -> np.ndarray:
    return photographs(published.network, IMAGES)


@pytest.fixture(scope="session")
def quantised(published, calibration) -> QuantisedModel:
    return quantise(published.network, published.tensors, calibration)


@dataclass(frozen=True)
class Outcome:
    """Results for the published weights.

    ``sqnr``: in dB for each published tensor, task 0. The others are per task: share of tokens with the same experts,
    number of tokens with a clear lead that have other experts, standard deviation of the gate's error.
    """

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
        order = quantised["blocks.1.moe.order"]
        logits = frame.trace["1.gate_logits"] / (65536 * LOG2_E)
        float_logits = golden[f"l1_gate_logits_task{task}"][:, order]
        same = (np.sort(order[frame.trace["1.top_k_index"]])
                == np.sort(golden[f"l1_top2_idx_task{task}"])).all(axis=1)
        descending = -np.sort(-float_logits)
        noise = (logits - float_logits).std()
        clear = descending[:, 1] - descending[:, 2] > CLEAR * noise
        found.append((same.mean(), int((clear & ~same).sum()), noise))
    return Outcome(decibels, *zip(*found, strict=True))


class _Names(dict):
    """The published values under the reference's names; None for unpublished ones."""

    def __init__(self, golden):
        super().__init__({"x_embed": golden["x_embed"]})
        for name, value in golden.items():
            if name.startswith(("l0_", "l1_")):
                self[f"{name[1]}.{name[3:]}"] = value
        self["1.gate_logits"] = golden["l1_gate_logits_task0"]

    def __missing__(self, name):
        return None
