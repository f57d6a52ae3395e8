# SPDX-License-Identifier: Apache-2.0
"""Records of the simulated memory, and counts of them."""

import numpy as np

__all__ = ["BURST", "beat_counts"]

#: One burst taken by the memory: cycle of its AR or AW, byte address, beats, 1 for a write. Little endian.
BURST = np.dtype([("cycle", "<u8"), ("address", "<u8"), ("beats", "<u4"), ("write", "<u4")])


def beat_counts(bursts: np.ndarray, bus_bytes: int, base: int, size: int, *, write: bool = False) -> np.ndarray:
    """How often each beat of ``base`` <= address < ``base + size`` was read (with ``write``: written).

    ``bursts`` are records ``BURST``. Returns int64, one count for each ``bus_bytes`` bytes, the width of the port. The
    last beat may be partial.
    """
    beats = -(-size // bus_bytes)
    chosen = bursts[bursts["write"] == write]
    first = (chosen["address"].astype(np.int64) - base) // bus_bytes
    last = np.clip(first + chosen["beats"], 0, beats)
    first = np.clip(first, 0, beats)
    steps = np.bincount(first, minlength=beats + 1) - np.bincount(last, minlength=beats + 1)
    return np.cumsum(steps)[:beats]
