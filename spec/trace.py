# SPDX-License-Identifier: Apache-2.0
"""The trace: one record for every store of a unit. The RTL's simulation and the golden machine write it."""

from enum import IntEnum

import numpy as np

__all__ = ["TraceKind", "record_dtype", "sort_records"]


class TraceKind(IntEnum):
    """What a record holds."""

    RESIDUAL = 0  #: address: word; data: k_lanes values
    HIDDEN = 1  #: address: word; data: k_lanes values
    KV = 2  #: address: k_lanes-wide part of a word; data: k_lanes values, s8 sign-extended
    ROUTE = 3  #: address: token x 32 + rank; data: expert, score 15..0, score 16
    NORM = 4  #: address: row; data: mean, peak mantissa, peak exponent, scale mantissa, scale exponent
    QUEUE = 5  #: address: expert; data: queue length


def record_dtype(k_lanes: int) -> np.dtype:
    """kind u8, sequence u16 (number of the instruction), address u32, data k_lanes x s16; packed, little endian."""
    return np.dtype([("kind", "u1"), ("sequence", "<u2"), ("address", "<u4"), ("data", "<i2", (k_lanes,))])


def sort_records(records: np.ndarray) -> np.ndarray:
    """Records sorted by instruction, kind, address. Equal ones keep their order: an address may be written twice."""
    return records[np.lexsort((records["address"], records["kind"], records["sequence"]))]
