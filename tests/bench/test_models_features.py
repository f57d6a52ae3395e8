# SPDX-License-Identifier: Apache-2.0
"""Features of a small network, from float and from integers, and the distance between them."""

import dataclasses

import numpy as np
import pytest
import torch

from moevit.bench.models import features
from moevit.bench.models.features import float_features, integer_features
from moevit.bench.models.fidelity import decibel, fidelity
from moevit.bench.models.weights import quantise_model
from moevit.golden.integer.model import IntegerModel
from moevit.spec.quantised import QuantisedModel

from .small_network import NETWORK, Reference, write_checkpoint


def nothing(_):
    pass


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Checkpoint, quantised model, images."""
    root = tmp_path_factory.mktemp("models")
    checkpoint = write_checkpoint(root)
    images = np.random.default_rng(1).integers(0, 256, (20, 16, 32, 3), np.uint8)
    return checkpoint, quantise_model(checkpoint, images[:8], root, nothing), images[8:]


def test_float_features_are_pooled_tokens(case, tmp_path):
    checkpoint, _, images = case
    source = Reference(checkpoint)
    found = float_features(source, images, 3, tmp_path, nothing)
    tokens = source(images)
    assert found.pooled.shape == (12, 64) and np.allclose(found.tokens, tokens[:3], atol=1e-5)
    assert np.allclose(found.pooled[:, :32], tokens[:, 0], atol=1e-5)
    assert np.allclose(found.pooled[:, 32:], tokens[:, 1:].mean(axis=1), atol=1e-5)


def test_integer_features_are_normed_integers(case, tmp_path):
    _, path, images = case
    found = integer_features(path, images, 3, tmp_path, nothing)
    model = QuantisedModel.load(path)
    tokens = torch.from_numpy(IntegerModel(model).run(images[1]).tokens * 2.0**-model.residual_fraction)
    weight, bias = (torch.from_numpy(model.heads[f"heads.features.norm.{part}"]).double()
                    for part in ("weight", "bias"))
    expected = torch.nn.functional.layer_norm(tokens, (32,), weight, bias, NETWORK.norm_eps).numpy()
    assert np.allclose(found.tokens[1], expected, atol=1e-5)
    assert np.allclose(found.pooled[1], np.r_[expected[0], expected[1:].mean(axis=0)], atol=1e-5)
    assert found.written["1.v"] == 12 * 9 * 32 and found.written["0.attn_logits"] == 12 * 2 * 9 * 9
    assert set(found.clipped) == set(found.written)


def test_float_and_integers_are_close_and_not_the_same(case, tmp_path):
    checkpoint, path, images = case
    exact = float_features(Reference(checkpoint), images, 3, tmp_path, nothing)
    ours = integer_features(path, images, 3, tmp_path, nothing)
    close = fidelity(exact, ours)
    assert len(close.cosines) == 3 * 9 and 0.99 < close.least <= close.median < 1
    assert decibel(exact.pooled, ours.pooled) > 25


def test_what_is_kept_is_used_again(case, tmp_path, monkeypatch):
    _, path, images = case
    first = integer_features(path, images, 3, tmp_path, nothing)
    monkeypatch.setattr(features, "IntegerModel", None)  # a use of it would fail
    features._integer_model.cache_clear()
    again = integer_features(path, images, 3, tmp_path, nothing)
    assert np.array_equal(again.pooled, first.pooled) and again.clipped == first.clipped
    for changed in ((path, images[1:], 3), (path, images, 2)):
        with pytest.raises(TypeError):
            integer_features(*changed, tmp_path, nothing)


def test_fidelity_counts_by_kind():
    tokens = np.array([[[3.0, 4.0], [1.0, 0.0]]])
    exact = features.Features(tokens[:, 0], tokens, {}, {})
    ours = dataclasses.replace(exact, tokens=np.array([[[3.0, 4.0], [1.0, 1.0]]]),
                               clipped={"0.v": 0, "1.v": 6, "0.q": 1}, written={"0.v": 100, "1.v": 100, "0.q": 50})
    found = fidelity(exact, ours)
    assert found.cosines == pytest.approx([1.0, 0.5**0.5]) and found.least == pytest.approx(0.5**0.5)
    assert found.saturation == {"v": 0.03, "q": 0.02} and found.worst_tensor == ("1.v", 0.06)
    figures = found.figures()
    assert (figures["saturated"], figures["clipped"], figures["written"]) == (0.03, 7, 250)


def test_decibel():
    assert decibel(np.full(4, 10.0), np.full(4, 10.1)) == pytest.approx(40.0)
