# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.spec.bundle import MANIFEST_KEYS, Bundle, BundleError


@pytest.fixture
def path(tmp_path):
    manifest = {key: 1 for key in MANIFEST_KEYS}
    bundle = Bundle(manifest, bytes(range(128)), bytes(1000), bytes(77), {"scale": np.arange(3)})
    bundle.save(tmp_path / "a.bundle")
    return tmp_path / "a.bundle"


def test_round_trip(path):
    bundle = Bundle.load(path)
    assert bundle.program == bytes(range(128)) and bundle.program_length == 2
    assert bundle.weights == bytes(1000) and bundle.gates == bytes(77)
    np.testing.assert_array_equal(bundle.heads["scale"], np.arange(3))


def test_every_flipped_byte_is_noticed(path):
    content = path.read_bytes()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        try:
            again = Bundle.load(path)
        except BundleError:
            continue
        # Only padding between sections is not covered by a checksum, and it is not used.
        assert (again.manifest, again.program, again.weights, again.gates) == (
            {key: 1 for key in MANIFEST_KEYS}, bytes(range(128)), bytes(1000), bytes(77)), at


@pytest.mark.parametrize("size", [0, 7, 20, 100, 400])
def test_truncated(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError):
        Bundle.load(path)


def test_trailing_bytes_and_missing_file(path, tmp_path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError, match="follow the last section"):
        Bundle.load(path)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(tmp_path / "none.bundle")


def test_other_version(path):
    content = bytearray(path.read_bytes())
    content[8] = 9
    path.write_bytes(content)
    with pytest.raises(BundleError, match="version 9"):
        Bundle.load(path)
