# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.spec.networks import NETWORKS
from moevit.spec.npz import NpzError, read_npz
from moevit.spec.quantised import QuantisedModel, QuantisedModelError


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(300), b=np.ones((2, 2)))
    return tmp_path / "a.npz"


def test_reads_all(path):
    arrays = read_npz(path)
    assert set(arrays) == {"a", "b"}
    np.testing.assert_array_equal(arrays["a"], np.arange(300))


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[200] ^= 0xFF
    elif isinstance(how, int):
        content = content[:how]
    else:
        content = bytearray(b"some text")
    path.write_bytes(content)


@pytest.mark.parametrize("how", [0, 3, 100, 1000, "flipped", "text"])
def test_damaged(path, how):
    damage(path, how)
    with pytest.raises(NpzError, match="not a readable .npz"):
        read_npz(path)
    with pytest.raises(QuantisedModelError, match="is not a quantised model"):
        QuantisedModel.load(path)


def test_other_files(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(NpzError, match="one array"):
        read_npz(tmp_path / "a.npy")
    np.savez(tmp_path / "objects.npz", a=np.array([None]))
    with pytest.raises(NpzError, match="allow_pickle"):
        read_npz(tmp_path / "objects.npz")
    with pytest.raises(NpzError, match="No such file"):
        read_npz(tmp_path / "none.npz")


@pytest.mark.parametrize("fraction", [-1, 16, 9.0, "9"])
def test_residual_fraction(fraction):
    with pytest.raises(QuantisedModelError, match="residual_fraction must be 0..15"):
        QuantisedModel(NETWORKS["tiny_test"], {}, fraction)
