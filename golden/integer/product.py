# SPDX-License-Identifier: Apache-2.0
"""Exact products of small integers, by the float32 kernels that every computer has fast."""

import numpy as np

from moevit.spec.formats import OPERAND_MAX, WEIGHT_MAX

__all__ = ["CHUNK", "product"]

#: Inputs that may be summed in float32, which holds every integer up to 2^24: whatever the order, no partial sum of so
#: many terms exceeds it.
CHUNK = (1 << 24) // (OPERAND_MAX * WEIGHT_MAX)


def product(operands: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``operands @ weight.T``: operands (rows, k) in +-255, weight (outputs, k) in +-127; int64 (rows, outputs)."""
    operands, weight = operands.astype(np.float32), weight.astype(np.float32, copy=False)
    total = np.zeros((len(operands), len(weight)), np.int64)
    for start in range(0, operands.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        total += (operands[:, part] @ weight[:, part].T).astype(np.int64)
    return total
