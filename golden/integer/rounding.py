# SPDX-License-Identifier: Apache-2.0
"""The one rounding rule and the one saturation rule of the machine."""

import numpy as np

__all__ = ["bit_length", "round_shift", "saturate", "wrap"]


def round_shift(value: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """``value / 2^shift``, rounded half up: add half, arithmetic shift right. ``shift`` 0..62, elementwise."""
    shift = np.asarray(shift, np.int64)
    rounded = np.asarray(value, np.int64) + (np.left_shift(np.int64(1), shift) >> 1)
    return np.right_shift(rounded, shift, out=rounded if rounded.ndim else None)


def saturate(value: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """``value`` clipped to low..high, and where that changed it (bool)."""
    clipped = np.clip(value, low, high)
    return clipped, clipped != value


def wrap(value: np.ndarray, bits: int) -> np.ndarray:
    """The low ``bits`` of ``value`` as two's complement."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def bit_length(value: np.ndarray) -> np.ndarray:
    """Bits of a non-negative integer below 2^62: 0 for 0, 1 for 1, 2 for 2 and 3, ..."""
    value = np.asarray(value, np.int64)
    length = np.zeros_like(value)
    for step in (32, 16, 8, 4, 2, 1):
        high = np.right_shift(value, length + step) > 0
        length = np.where(high, length + step, length)
    return np.where(value > 0, length + 1, 0)
