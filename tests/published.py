# SPDX-License-Identifier: Apache-2.0
"""The published part of m3vit_tiny as a network of two blocks. The unpublished part is synthetic."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from moevit.golden.quant.published import BLOCKS, FOLDER, find_published, overlay
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.spec.networks import NETWORKS, Network

ROOT = Path(__file__).resolve().parents[1]


class TwoBlocks(NamedTuple):
    """Two blocks of m3vit_tiny, its image u8 (H, W, 3), and the published float intermediates."""

    network: Network
    tensors: dict[str, np.ndarray]
    image: np.ndarray
    golden: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def published() -> TwoBlocks:
    found = find_published()
    if found is None:
        pytest.skip(f"{FOLDER} has no published weights: they are not part of the repository")
    network = dataclasses.replace(NETWORKS["m3vit_tiny"], depth=BLOCKS)
    tensors = overlay(network, synthetic_checkpoint(network, seed=1), found)
    return TwoBlocks(network, tensors, found.image, found.golden)
