# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: synthetic models (cached) and the published weights."""

from functools import cache

import numpy as np
import pytest

from moevit.golden.quant.synthetic import synthetic_model
from moevit.spec.networks import NETWORKS

from .published import published  # noqa: F401  (a fixture)


@cache
def model_of(name: str, seed: int = 1):
    return synthetic_model(NETWORKS[name], seed)


@pytest.fixture
def tiny_model():
    return model_of("tiny_test")


@pytest.fixture
def tiny_image():
    return random_image("tiny_test")


def random_image(name: str, seed: int = 2) -> np.ndarray:
    network = NETWORKS[name]
    return np.random.default_rng(seed).integers(0, 256, (network.height, network.width, 3), dtype=np.uint8)
