# SPDX-License-Identifier: Apache-2.0
"""Calibration: ranges of values and loads of experts, from the float model on a few images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from moevit.golden.reference import M3ViT, pixels
from moevit.spec.networks import Network

from .errors import CalibrationError
from .fold import offsets

__all__ = ["PARTS", "Range", "Statistics", "calibrate"]

PARTS = ("query", "key", "value")


@dataclass
class Range:
    """Of ``count`` rows: least and largest value of each channel (channels,), sums of values and of squares."""

    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    count: int = 0

    @classmethod
    def empty(cls, channels: int) -> "Range":
        return cls(np.full(channels, np.inf), np.full(channels, -np.inf), np.zeros(channels), np.zeros(channels))

    @property
    def centre(self) -> np.ndarray:
        return (self.low + self.high) / 2

    @property
    def reach(self) -> np.ndarray:
        """The largest distance from the centre."""
        return (self.high - self.low) / 2

    @property
    def peak(self) -> np.ndarray:
        """The largest magnitude."""
        return np.maximum(-self.low, self.high)

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation."""
        mean = self.total / self.count
        return np.sqrt(np.maximum(self.squares / self.count - mean**2, 0.0))

    def meet(self, values: np.ndarray) -> None:
        """Widen the range to ``values`` (rows, channels)."""
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        self.total, self.squares = self.total + values.sum(axis=0), self.squares + np.square(values).sum(axis=0)
        self.count += len(values)


@dataclass
class Statistics:
    """Figures of the float model over all images and tasks.

    ``residual``: the largest magnitude of the residual rows. ``ranges[block]``: of ``query``, ``key`` and ``value``
    (dim,), without the constants that `fold` moves elsewhere. ``loads[block]`` (images, tasks, experts): the number of
    tokens of each expert.
    """

    residual: float
    ranges: list[dict[str, Range]]
    loads: dict[int, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def calibrate(model: M3ViT, tensors: Mapping[str, np.ndarray], images: np.ndarray) -> Statistics:
    """Run ``images`` u8 (images, H, W, 3) through all tasks. Raises CalibrationError."""
    network = model.network
    images = _checked(network, images)
    found = Statistics(0.0, [{part: Range.empty(network.dim) for part in PARTS} for _ in range(network.depth)])
    constants = [offsets(tensors, block) for block in range(network.depth)]
    found.loads = {block: np.zeros((len(images), len(network.tasks), network.experts), np.int64)
                   for block in filter(network.is_moe, range(network.depth))}
    for index, image in enumerate(images):
        for task in range(len(network.tasks)):
            trace = {name: value[0] for name, value in model.trace(pixels(image[None]), task).items()}
            found.residual = max(found.residual, *(float(value.abs().max()) for name, value in trace.items()
                                                   if name.endswith(("x_embed", "x_post_attn", "x_post_mlp"))))
            for block, (constant, ranges) in enumerate(zip(constants, found.ranges, strict=True)):
                for part, offset in zip(PARTS, (0.0, constant.key, constant.value), strict=True):
                    ranges[part].meet(trace[f"{block}.{part[0]}"].numpy() - offset)
            for block, load in found.loads.items():
                load[index, task] = trace[f"{block}.top_k_index"].flatten().bincount(minlength=network.experts).numpy()
    return found


def _checked(network: Network, images: np.ndarray) -> np.ndarray:
    expected = (network.height, network.width, 3)
    if images.ndim != 4 or images.shape[1:] != expected or images.dtype != np.uint8:
        raise CalibrationError(f"{network.name} is calibrated on u8 images (images, {', '.join(map(str, expected))}), "
                               f"not on {images.dtype} {images.shape}")
    if len(images) == 0:
        raise CalibrationError("no calibration images: give at least one")
    if all((image == image[0, 0]).all() for image in images):
        raise CalibrationError(f"every one of the {len(images)} calibration images is a single colour: give real ones")
    return np.ascontiguousarray(images)
