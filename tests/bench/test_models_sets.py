# SPDX-License-Identifier: Apache-2.0
"""Sets of pictures are reproducible, their splits are disjoint, and classes are in proportion."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from moevit.bench.models import sets
from moevit.bench.models.sets import PictureSet, SetError, digits, file_of_package, textiles, unseen_photographs
from moevit.golden.quant.images import PHOTOS


@pytest.fixture(scope="module")
def found():
    return digits()


def split_is_sound(pictures, count, test):
    assert len(pictures.images) == len(pictures.labels) == count
    assert sorted([*pictures.train, *pictures.test]) == list(range(count)) and len(pictures.test) == test
    for places in (pictures.train, pictures.test):
        shares = np.bincount(pictures.labels[places]) / len(places)
        assert np.abs(shares - np.bincount(pictures.labels) / count).max() < 0.003


def test_digits(found):
    assert found.images.shape[1:] == (224, 224, 3) and found.images.dtype == np.uint8
    split_is_sound(found, 1797, 897)
    source = load_digits()
    assert np.array_equal(found.labels, source.target) and found.classes == tuple("0123456789")
    picture = found.images[3]
    assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
    shrunk = picture[..., 0].reshape(8, 28, 8, 28).mean(axis=(1, 3))
    assert np.corrcoef(shrunk.ravel(), source.images[3].ravel())[0, 1] > 0.98 and picture.max() <= 255


def test_sets_are_the_same_each_time(found):
    again = digits()
    assert again.digest() == found.digest() and np.array_equal(again.test, found.test)
    other = PictureSet("digits", found.images, found.labels, found.test, found.train, found.classes)
    assert other.digest() != found.digest()


def test_the_first_of_a_set(found):
    few = found.first(60, 16)
    assert len(few.train) == 60 and len(few.test) == 16 and not set(few.train) & set(few.test)
    assert np.array_equal(few.images[few.train], found.images[found.train[:60]])
    assert np.array_equal(few.labels[few.test], found.labels[found.test[:16]])
    assert set(few.labels[few.train]) == set(range(10))  # classes are mixed from the first picture on


def test_textiles():
    pytest.importorskip("conformal_clip_data")
    pictures = textiles()
    split_is_sound(pictures, 2000, 1000)
    assert np.bincount(pictures.labels).tolist() == [1000, 500, 500]
    assert pictures.images.shape[1:] == (224, 224, 3) and pictures.images[::100].std() > 20


def test_a_package_that_is_not_there(monkeypatch):
    with pytest.raises(SetError, match="no-such-package is not installed"):
        file_of_package("no-such-package", ".onnx")
    with pytest.raises(SetError, match="numpy carries [0-9]+ files"):
        file_of_package("numpy", ".py")
    monkeypatch.setattr(sets, "TEXTILES", "numpy")
    with pytest.raises(SetError, match="no pictures"):
        textiles()


def test_unseen_photographs():
    photos = unseen_photographs()
    assert photos.shape == (len(sets.UNSEEN), 224, 224, 3) and photos.dtype == np.uint8
    assert not set(sets.UNSEEN) & set(PHOTOS)
    assert len({photo.tobytes() for photo in photos}) == len(photos)
