# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import numpy as np
import pytest

from moevit.kit.npz import NpzError, read_npz, write_npz
from moevit.spec.networks import NETWORKS
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


@pytest.mark.parametrize("fraction", [-1, 16, 9.0, "9", True])
def test_residual_fraction(fraction):
    with pytest.raises(QuantisedModelError, match="residual_fraction must be 0..15"):
        QuantisedModel(NETWORKS["tiny_test"], {}, fraction)


@pytest.mark.parametrize("name", ["a", "a.bin", "a.npz"])
def test_writes_the_file_that_is_named(tmp_path, name):
    write_npz(tmp_path / name, {"a": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(read_npz(tmp_path / name)["a"], np.arange(3))


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="none"):
        write_npz(tmp_path / "none" / "a.npz", {})


@pytest.mark.parametrize("change, message", [
    (None, "no array called meta"), ({"version": None}, "meta has no 'version'"),
    ({"residual_fraction": True}, "residual_fraction must be 0..15, not True"),
    ({}, "tensor blocks.0.attn.key.bias is missing"), ({"network": {"name": 7}}, "must be text, not 7"),
    ({"network": {"depth": 10**9}}, "depth must be an integer of 1..1024, not 1000000000"),
    ({"network": {"dim": True}}, "dim must be an integer of 1..65535, not True"),
])
def test_no_quantised_model(tmp_path, change, message):
    network = dataclasses.asdict(NETWORKS["tiny_test"])
    meta = {"version": 3, "residual_fraction": 9, "notes": {}, "host": {}, **(change or {})}
    meta = {key: value for key, value in meta.items() if value is not None}
    meta["network"] = network | meta.get("network", {})
    arrays = {} if change is None else {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    write_npz(tmp_path / "a.npz", arrays)
    with pytest.raises(QuantisedModelError, match=f"a.npz is not a quantised model: .*{message}"):
        QuantisedModel.load(tmp_path / "a.npz")
