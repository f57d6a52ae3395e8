# SPDX-License-Identifier: Apache-2.0
"""Statistics of the inputs of a linear layer: their means and correlations in integers, and their means in float."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

__all__ = ["Moments"]


@final
@dataclass(frozen=True)
class Moments:
    """Means over the rows of the calibration images.

    ``integer``: the layer's inputs (..., inputs) in the integer model, as reals. ``real``: the same inputs in the float
    model. ``gram``: ``x x^T`` (..., inputs, inputs) of the integer model's.
    """

    integer: np.ndarray
    real: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> "Moments":
        """Moments of pairs of integer and float rows, each (rows, inputs). Every pair has the same weight."""
        total: list[Any] = []
        count = 0
        for integer, real in pairs:
            x = integer.astype(np.float32)
            each = [x.mean(axis=0), real.mean(axis=0), x.T @ x / len(x)]
            total = [np.add(sum_, part, dtype=np.float64) for sum_, part in zip(total or (0.0,) * 3, each, strict=True)]
            count += 1
        return cls(*(part / count for part in total))

    @classmethod
    def stack(cls, moments: Iterable["Moments"]) -> "Moments":
        """Moments of a stack of layers, each with its own inputs."""
        parts = zip(*((each.integer, each.real, each.gram) for each in moments), strict=True)
        return cls(*(np.stack(part) for part in parts))

    def scaled(self, unit: np.ndarray) -> "Moments":
        """The same moments, with each input divided by its ``unit`` (inputs,)."""
        return Moments(self.integer / unit, self.real / unit, self.gram / np.outer(unit, unit))
