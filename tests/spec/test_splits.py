# SPDX-License-Identifier: Apache-2.0
"""Parts of long sums, counted by hand: 2,072 terms of 255 x 127 are the most that the accumulator bears."""

import numpy as np
import pytest

from moevit.spec.splits import adds_to_residual, channel_parts


def lengths(weight):
    parts = channel_parts(weight)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == weight.shape[-1]
    return [part.stop - part.start for part in parts]


@pytest.mark.parametrize("inputs, expected", [
    (2072, [2072]), (2073, [1088, 985]), (3072, [1536, 1536]), (4096, [2048, 2048]), (4160, [1408, 1408, 1344]),
    (65535, [*[2048] * 31, 2047]),
])
def test_the_largest_weights(inputs, expected):
    for sign in (127, -127):
        assert lengths(np.full((2, inputs), sign, np.int8)) == expected


def test_ordinary_weights_are_one_part():
    """Of a normal distribution, the largest of a row 127: a mean magnitude of about 30, where 64 would do."""
    weight = np.random.default_rng(1).normal(size=(64, 4096))
    weight = np.rint(weight * 127 / np.abs(weight).max(axis=1, keepdims=True)).astype(np.int8)
    assert lengths(weight) == [4096]


def test_one_row_of_one_expert_decides():
    weight = np.zeros((4, 8, 3072), np.int8)
    weight[2, 5] = 86  # 255 x 86 x 3072 > 2^26 - 1
    assert lengths(weight) == [1536, 1536]
    weight[2, 5] = 85
    assert lengths(weight) == [3072]


def test_parts_are_even_where_the_weights_are_not():
    """Two parts are not enough where the first half alone is too large."""
    weight = np.zeros((1, 6144), np.int8)
    weight[0, :3072] = 127
    assert lengths(weight) == [2048, 2048, 2048]


def test_layers_that_add_to_the_residual():
    names = {"patch_embed", "blocks.0.attn.proj", "blocks.0.mlp.fc2", "blocks.1.moe.fc2", "blocks.1.moe.shared.fc2"}
    assert all(map(adds_to_residual, names))
    assert not any(map(adds_to_residual, ("blocks.0.attn.query", "blocks.0.mlp.fc1", "blocks.1.moe.gate")))
