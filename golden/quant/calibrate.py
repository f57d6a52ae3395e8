# SPDX-License-Identifier: Apache-2.0
"""Ranges of the few tensors with a static scale, from the float model on a few images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moevit.golden.reference import M3ViT, pixels

from .errors import CalibrationError
from .fold import offsets

__all__ = ["Ranges", "calibrate"]


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes over all images and tasks; ``query``, ``key``, ``value`` have one entry per block.

    Keys and values are without the constants that `fold` moves elsewhere.
    """

    residual: float
    query: tuple[float, ...]
    key: tuple[float, ...]
    value: tuple[float, ...]


@torch.no_grad()
def calibrate(model: M3ViT, tensors: Mapping[str, np.ndarray], images: np.ndarray) -> Ranges:
    """Run u8 ``images`` (images, H, W, 3) through all tasks. Raises CalibrationError."""
    _check(images)
    depth = model.network.depth
    residual = 0.0
    largest = np.zeros((3, depth))
    constants = [offsets(tensors, block) for block in range(depth)]
    for image in images:
        for task in range(len(model.network.tasks)):
            trace = model.trace(pixels(image[None]), task)
            residual = max(residual, *(_peak(value) for name, value in trace.items()
                                       if name.endswith(("x_embed", "x_post_attn", "x_post_mlp"))))
            for block, constant in enumerate(constants):
                for index, (name, offset) in enumerate((("q", 0.0), ("k", constant.key), ("v", constant.value))):
                    largest[index, block] = max(largest[index, block], _peak(trace[f"{block}.{name}"], offset))
    return Ranges(residual, *(tuple(map(float, row)) for row in largest))


def _peak(value: Tensor, offset: np.ndarray | float = 0.0) -> float:
    return float(np.abs(value.numpy() - offset).max())


def _check(images: np.ndarray) -> None:
    if len(images) == 0:
        raise CalibrationError("no calibration images: give at least one")
    if all((image == image.reshape(-1, image.shape[-1])[0]).all() for image in images):
        raise CalibrationError(f"every one of the {len(images)} calibration images is a single colour: give real ones")
