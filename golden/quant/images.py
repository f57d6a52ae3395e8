# SPDX-License-Identifier: Apache-2.0
"""Calibration images for networks without their own: crops of photographs from scikit-image."""

import numpy as np
from skimage import data

from moevit.spec.networks import Network

__all__ = ["PHOTOS", "photographs"]

PHOTOS = ("astronaut", "coffee", "chelsea", "immunohistochemistry")  # in colour, losslessly compressed


def photographs(network: Network, count: int, seed: int = 0) -> np.ndarray:
    """Images u8 (count, H, W, 3): seeded crops of photographs, shrunk by a whole factor.

    A photograph that is smaller than the network's image is tiled.
    """
    rng = np.random.default_rng((seed, network.height, network.width))
    return np.stack([_crop(getattr(data, PHOTOS[index % len(PHOTOS)])(), network, rng) for index in range(count)])


def _crop(photo: np.ndarray, network: Network, rng: np.random.Generator) -> np.ndarray:
    size = np.array([network.height, network.width])
    repeats = -(-size // photo.shape[:2])
    photo = np.tile(photo, (*repeats, 1))
    largest = int((np.array(photo.shape[:2]) // size).min())
    step = int(rng.integers(1, largest + 1))
    top, left = (int(rng.integers(have - step * need + 1)) for have, need in zip(photo.shape, size, strict=False))
    window = photo[top : top + step * size[0], left : left + step * size[1]]
    return window.reshape(size[0], step, size[1], step, 3).mean(axis=(1, 3)).astype(np.uint8)
