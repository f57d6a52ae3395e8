# SPDX-License-Identifier: Apache-2.0
"""Exact products of small integers with float32 matrix kernels, which are fast on every computer."""

import numpy as np

from moevit.spec.formats import OPERAND_MAX, WEIGHT_MAX

__all__ = ["CHUNK", "product"]

#: Inputs that are added up in float32 at a time. Float32 holds every integer up to 2^24. No partial sum of this many
#: terms exceeds 2^24, in any order of addition.
CHUNK = (1 << 24) // (OPERAND_MAX * WEIGHT_MAX)


def product(operands: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``operands @ weight.T`` as int64 (rows, outputs). operands (rows, k) in +-255, weight (outputs, k) in +-127."""
    operands, weight = operands.astype(np.float32), weight.astype(np.float32, copy=False)
    total = np.zeros((len(operands), len(weight)), np.int64)
    for start in range(0, operands.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        total += (operands[:, part] @ weight[:, part].T).astype(np.int64)
    return total
