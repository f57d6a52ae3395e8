# SPDX-License-Identifier: Apache-2.0
"""Bytes in the order in which the machine uses them: tiles, column parameters, rows of words."""

import numpy as np

from moevit.spec.arrays import MachineConfig

from .plan import ceil_div

__all__ = ["gate_digits", "linear_bytes", "pack_linear", "pack_words", "pad_groups"]


def pad_groups(matrix: np.ndarray, axis: int, groups: int, size: int) -> np.ndarray:
    """Split ``axis`` into ``groups`` equal parts, and pad each with zeros to ``size``, as heads to whole words."""
    shape = list(matrix.shape)
    part = shape[axis] // groups
    split = matrix.reshape(*shape[:axis], groups, part, *shape[axis + 1:])
    pad = [(0, 0)] * split.ndim
    pad[axis + 1] = (0, size - part)
    shape[axis] = groups * size
    return np.pad(split, pad).reshape(shape)


def gate_digits(config: MachineConfig, weight: np.ndarray) -> np.ndarray:
    """Gate weights (experts, dim words x lanes) s16 as s8 (outputs, k-groups): a group for each sweep of the rows.

    A weight is ``128 x high + low``. The first sweep multiplies the row's high digit by the weight's low digit, the
    second one low by high. Then the accumulator is divided by 128, and the third sweep multiplies high by high. The
    product low x low is below the last bit of the result. If there are two sweeps, the first one also multiplies high
    by high, in outputs of its own from ``max_experts`` on. The row writer divides and adds them.
    """
    wide = weight.astype(np.int64)
    high = (wide + 64) >> 7
    low = wide - (high << 7)
    if config.gate_sweeps == 3:
        return np.concatenate([low, high, high], axis=1).astype(np.int8)
    mixed = np.concatenate([low, high], axis=1)
    mixed = np.pad(mixed, ((0, config.max_experts - len(mixed)), (0, 0)))
    return np.concatenate([mixed, np.pad(high, ((0, 0), (0, high.shape[1])))]).astype(np.int8)


def pack_linear(config: MachineConfig, weight: np.ndarray, column_scale: np.ndarray, bias: np.ndarray) -> bytes:
    """Column parameters and tiles of a linear layer, n-tile by n-tile.

    ``weight``: s8 (outputs, inputs), whose inputs are a multiple of k_lanes. ``column_scale`` u16 and ``bias`` s16 are
    of the first outputs. An n-tile has n_lanes x {scale, bias}, then its k-tiles: each is n_lanes columns of k_lanes
    bytes.
    """
    k, n = config.k_lanes, config.n_lanes
    outputs, inputs = weight.shape
    n_tiles, k_tiles = ceil_div(outputs, n), inputs // k
    pad = n_tiles * n - outputs
    tiles = np.pad(weight.astype(np.int8), ((0, pad), (0, 0))).reshape(n_tiles, n, k_tiles, k).transpose(0, 2, 1, 3)
    without = n_tiles * n - len(bias)
    columns = np.stack([np.pad(column_scale.astype(np.uint16), (0, without)),
                        np.pad(bias.astype(np.int16), (0, without)).view(np.uint16)], axis=1)
    columns_bytes = columns.astype("<u2").reshape(n_tiles, n * 2).view(np.uint8)
    tile_bytes = np.ascontiguousarray(tiles).view(np.uint8).reshape(n_tiles, -1)
    return np.concatenate([columns_bytes, tile_bytes], axis=1).tobytes()


def linear_bytes(config: MachineConfig, outputs: int, words: int) -> int:
    """Bytes that `pack_linear` makes of ``outputs`` and ``words`` of inputs."""
    k, n = config.k_lanes, config.n_lanes
    return ceil_div(outputs, n) * (4 * n + words * k * n)


def pack_words(config: MachineConfig, rows: np.ndarray) -> bytes:
    """Rows (rows, channels) s16 as row-memory words, each row padded with zeros to whole words."""
    pad = -rows.shape[1] % config.k_lanes
    return np.pad(rows.astype("<i2"), ((0, 0), (0, pad))).tobytes()
