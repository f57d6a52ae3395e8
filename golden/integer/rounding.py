# SPDX-License-Identifier: Apache-2.0
"""The machine's one rounding rule and its one saturation rule."""

import numpy as np

__all__ = ["bit_length", "round_shift", "saturate", "wrap"]


def round_shift(value: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """``value / 2^shift``, rounded half up: add one half, shift right arithmetically. ``shift`` 0..62, elementwise."""
    shift = np.asarray(shift, np.int64)
    rounded = np.asarray(value, np.int64) + (np.left_shift(np.int64(1), shift) >> 1)
    return np.right_shift(rounded, shift, out=rounded if rounded.ndim else None)


def saturate(value: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """``value`` clipped to low..high, and a mask (bool) of the values that clipping changed."""
    clipped = np.clip(value, low, high)
    return clipped, clipped != value


def wrap(value: np.ndarray, bits: int) -> np.ndarray:
    """The low ``bits`` of ``value`` as two's complement."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def bit_length(value: np.ndarray) -> np.ndarray:
    """The bits of a non-negative integer below 2^62: 0 for 0, 1 for 1, 2 for 2 and 3, and so on."""
    value = np.asarray(value, np.int64)
    length = np.zeros_like(value)
    for step in (32, 16, 8, 4, 2, 1):
        high = np.right_shift(value, length + step) > 0
        length = np.where(high, length + step, length)
    return np.where(value > 0, length + 1, 0)
