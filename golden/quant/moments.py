# SPDX-License-Identifier: Apache-2.0
"""What a linear layer must know of its inputs: how they move together, and how far integers are from float there."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

__all__ = ["Moments"]


@final
@dataclass(frozen=True)
class Moments:
    """Means over the rows of the calibration images: of the layer's inputs as the integers have them, as reals (...,
    inputs), of what the float model has there, and of ``x x^T`` of the former (..., inputs, inputs)."""

    integer: np.ndarray
    real: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> "Moments":
        """Of integers' and float rows, each (rows, inputs); every pair counts alike."""
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
        """Of the layers of a stack, each with its own."""
        parts = zip(*((each.integer, each.real, each.gram) for each in moments), strict=True)
        return cls(*(np.stack(part) for part in parts))

    def scaled(self, unit: np.ndarray) -> "Moments":
        """The same with each input in its ``unit`` (inputs,)."""
        return Moments(self.integer / unit, self.real / unit, self.gram / np.outer(unit, unit))
