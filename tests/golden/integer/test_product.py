# SPDX-License-Identifier: Apache-2.0
"""The fast product against numpy's int64 product."""

import numpy as np
import pytest

from moevit.golden.integer import product as module
from moevit.golden.integer.product import CHUNK, product


@pytest.mark.parametrize("inputs", [1, CHUNK, CHUNK + 1, 2072, 4096])
def test_any_operands_and_weights(inputs):
    rng = np.random.default_rng(inputs)
    operands, weight = rng.integers(-255, 256, (7, inputs)), rng.integers(-127, 128, (5, inputs))
    np.testing.assert_array_equal(product(operands, weight.astype(np.int8)), operands @ weight.T)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_exact(sign):
    """Float32 cannot hold odd sums above 2^24."""
    operands, weight = np.full((1, 2001), 255 * sign), np.full((1, 2001), 127)
    assert product(operands, weight).item() == sign * 255 * 127 * 2001


def test_longer_sums_in_float32_would_be_wrong(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4096)
    rng = np.random.default_rng(1)
    operands, weight = 255 - rng.integers(0, 2, (8, 2072)), 127 - rng.integers(0, 2, (8, 2072))
    assert (product(operands, weight) != operands @ weight.T).any()
