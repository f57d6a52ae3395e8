# SPDX-License-Identifier: Apache-2.0
"""Layers are rounded for the inputs that the integers really give them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.layerwise import Layerwise
from moevit.golden.quant.moments import Moments
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.golden.reference import load_state, pixels
from moevit.spec.networks import NETWORKS

TINY = NETWORKS["tiny_test"]
VARIANTS = {"MoE": TINY, "shared FFN": replace(TINY, shared_hidden=16),
            "fc2 per task": replace(TINY, experts=0, top_k=0, expert_hidden=0, task_fc2=True)}


def model_of(network, tensors):
    return load_state(network, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})


def test_moments_are_means_over_rows_and_pairs():
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(5, 3)), rng.normal(size=(5, 3))) for _ in range(4)]
    found = Moments.of(iter(pairs))
    integer, real = (np.concatenate(part) for part in zip(*pairs, strict=True))
    np.testing.assert_allclose(found.integer, integer.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.real, real.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.gram, integer.T @ integer / 20, atol=1e-6)
    unit = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(found.scaled(unit).gram, (integer / unit).T @ (integer / unit) / 20, atol=1e-6)


@pytest.mark.parametrize("network", VARIANTS.values(), ids=VARIANTS.keys())
def test_it_ends_where_the_integer_model_does(network, monkeypatch):
    """Layerwise takes the steps of a frame, so its last residual rows are the frame's tokens."""
    kept, enter = [], Layerwise.enter

    def keep(layerwise, block):
        kept[:] = [layerwise]
        enter(layerwise, block)

    monkeypatch.setattr(Layerwise, "enter", keep)
    images = synthetic_images(network, 3, 2)
    integer = IntegerModel(quantise(network, synthetic_checkpoint(network, 3), images))
    assert len(kept[0].samples) == 2 * len(network.tasks)
    for sample in kept[0].samples:
        np.testing.assert_array_equal(sample.x, integer.run(sample.image, sample.task).tokens)


@pytest.mark.parametrize("network", [VARIANTS["fc2 per task"]], ids=["dense"])
def test_the_mean_of_each_channel_is_that_of_float(network):
    """The biases correct the mean error of the calibration images, up to the rounding of the biases."""
    tensors, images = synthetic_checkpoint(network, 4), synthetic_images(network, 4, 6)
    reference, shift = model_of(network, tensors), {}
    for compensate in (True, False):
        model = quantise(network, tensors, images, compensate=compensate)
        integer, unit = IntegerModel(model), 2.0**-model.residual_fraction
        with torch.no_grad():
            errors = [integer.run(image, 0).tokens * unit - reference.trace(pixels(image[None]))["tokens"][0].numpy()
                      for image in images]
        shift[compensate] = np.abs(np.mean(errors, axis=(0, 1)))
    assert shift[True].max() <= 0.75 * unit
    assert shift[False].mean() > 4 * shift[True].mean()
