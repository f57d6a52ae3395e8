# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.spec.bundle import Bundle, BundleError

MANIFEST = {
    "network": {"depth": 4, "heads": 2, "experts": 3}, "config": "8x8", "config_hash": 7,
    "bus_bytes": 8, "batch": 1, "deadline_cycles": 90,
    "tasks": ["semseg"], "gate_stride": 77,
    "image": {"height": 16, "width": 32, "patch": 8, "cell": 8},
    "output": {"tokens": 9, "words": 4, "lanes": 8, "dim": 32, "fraction": 9}, "host": {"heads": {"a": {}}},
    "instructions": [{"name": "a", "opcode": "PASS", "part": "logit", "block": 3, "head": 1, "macs_per_row": 1},
                     {"name": "b", "opcode": "END", "part": "end", "block": None, "macs_per_row": 0}],
}
EXPERT = {"name": "e", "opcode": "PASS", "part": "expert_fc1", "block": 1, "macs_per_row": 1, "experts": [2, 0, 1]}


@pytest.fixture
def path(tmp_path):
    bundle = Bundle(MANIFEST, bytes(range(128)), bytes(1000), bytes(77), {"scale": np.arange(3)})
    bundle.save(tmp_path / "a.bundle")
    return tmp_path / "a.bundle"


def test_round_trip(path):
    bundle = Bundle.load(path)
    assert bundle.program == bytes(range(128)) and bundle.program_length == 2
    assert bundle.weights == bytes(1000) and bundle.gates == bytes(77)
    np.testing.assert_array_equal(bundle.heads["scale"], np.arange(3))


def test_an_expert_loop(tmp_path):
    entries = [EXPERT, MANIFEST["instructions"][1]]
    Bundle({**MANIFEST, "instructions": entries}, bytes(128), b"", bytes(77)).save(tmp_path / "a.bundle")
    assert Bundle.load(tmp_path / "a.bundle").manifest["instructions"] == entries


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
            MANIFEST, bytes(range(128)), bytes(1000), bytes(77)), at


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


@pytest.mark.parametrize("key, value, message", [
    (None, [1], "is not an object"),
    ("tasks", None, "tasks = None"), ("tasks", [], r"tasks = \[\]"), ("tasks", ["a", "a"], "2 tasks"),
    ("gate_stride", 78, "78 bytes"), ("gate_stride", -1, "gate_stride = -1"),
    ("config_hash", "x", "config_hash = 'x'"), ("config", 3, "config = 3"), ("bus_bytes", True, "bus_bytes = True"),
    ("deadline_cycles", 0, "deadline_cycles = 0"), ("batch", 0, "batch = 0"), ("batch", 9, "batch = 9"),
    ("image", {"height": 16}, "image.width = None"), ("image", {**MANIFEST["image"], "patch": 6}, "patches of 6 in"),
    ("image", {**MANIFEST["image"], "cell": 7}, "cells of 7"),
    ("image", {**MANIFEST["image"], "patch": 0}, "patch = 0"),
    ("host", None, "has host"), ("host", {"heads": {"a": 1}}, "has host"),
    ("image", 5, "image.height = None"),
    ("output", {**MANIFEST["output"], "fraction": -1}, "output.fraction = -1"),
    ("output", {**MANIFEST["output"], "dim": 33}, "dim = 33 in 4 words of 8"),
    ("instructions", MANIFEST["instructions"][:1], "2 instructions"), ("instructions", [1, 2], "instruction 0 = 1"),
    *(("instructions", [{**MANIFEST["instructions"][0], key: value}, MANIFEST["instructions"][1]],
       f"instruction 0 with {key} = ")
      for key, value in (("name", 3), ("opcode", "JUMP"), ("part", "norm3"), ("part", []), ("block", -1),
                         ("opcode", "NORM"), ("block", True), ("block", 4), ("head", None),
                         ("head", 2), ("macs_per_row", 1.5), ("experts", [1, 1]), ("experts", [0, 1]))),
    ("instructions", [{"name": "a"}, 1], "instruction 0 without opcode, part, block, macs_per_row"),
    ("network", None, "has network = None"),
    *(("instructions", [{**EXPERT, key: value}, MANIFEST["instructions"][1]], f"instruction 0 with {key} = ")
      for key, value in (("experts", []), ("experts", [0, 1]), ("experts", [0, 1, 2, 3]), ("experts", None),
                         ("block", None))),
    *(("instructions", [{key: value for key, value in {**EXPERT, "part": part}.items() if key != "experts"},
                        MANIFEST["instructions"][1]], f"instruction 0 without experts, which part {part} needs")
      for part in ("expert_fc1", "expert_fc2")),
    ("instructions", [MANIFEST["instructions"][0], {**MANIFEST["instructions"][1], "experts": 3}],
     "instruction 1 with experts = 3"),
])
def test_wrong_manifest(path, key, value, message):
    manifest = value if key is None else {**MANIFEST, key: value}
    Bundle(manifest, bytes(range(128)), bytes(1000), bytes(77)).save(path)
    with pytest.raises(BundleError, match=f"section manifest .*{message}"):
        Bundle.load(path)


@pytest.mark.parametrize("key", MANIFEST)
def test_incomplete_manifest(path, key):
    manifest = {name: value for name, value in MANIFEST.items() if name != key}
    Bundle(manifest, bytes(range(128)), bytes(1000), bytes(77)).save(path)
    with pytest.raises(BundleError, match=f"lacks {key}"):
        Bundle.load(path)
