# SPDX-License-Identifier: Apache-2.0
"""The loss of the demo model with experts of four bits. ``-s`` prints the lines of docs/quantisation.md."""

import numpy as np
import pytest
import torch

from moevit.golden.demo.scenes import Scenes
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import integer_tensors, quantise
from moevit.golden.reference import checkpoint, pixels

from ...published import ROOT

SCENES, CALIBRATION = 12, 16
FOUR_BITS, EIGHT_BITS = 7, 127
KEPT_FROM = 0.999  # cosine


@pytest.mark.slow
def test_experts_of_four_bits(monkeypatch):
    """Even with compensated rounding, four bits lose more than allowed. So the machine has eight bits."""
    model = checkpoint.load(ROOT / "models" / "demo" / "demo.safetensors")
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    calibration, images = Scenes("train").batch(0, CALIBRATION)[0], Scenes("test").batch(0, SCENES)[0]
    with torch.no_grad():
        reference = [model(pixels(images), task).numpy() for task in model.network.tasks]
    quantise_weights = integer_tensors.quantise_weights

    def cosine(limit: int, compensate: bool) -> float:
        def limited(name, *arguments, **options):
            return quantise_weights(name, *arguments, **options, **({"limit": limit} if ".moe.fc" in name else {}))

        monkeypatch.setattr(integer_tensors, "quantise_weights", limited)
        integer = IntegerModel(quantise(model.network, tensors, calibration, compensate=compensate))
        found = [_cosine(integer.run(image, task).tokens, wanted) for task, tokens in enumerate(reference)
                 for image, wanted in zip(images, tokens, strict=True)]
        print(f"\n| {limit} | {compensate} | {np.mean(found):.4f} | {np.min(found):.4f} |", end="")
        return float(np.mean(found))

    eight, nearest, compensated = cosine(EIGHT_BITS, True), cosine(FOUR_BITS, False), cosine(FOUR_BITS, True)
    assert nearest < compensated < eight
    assert compensated < KEPT_FROM


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
