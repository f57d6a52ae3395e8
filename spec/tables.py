# SPDX-License-Identifier: Apache-2.0
"""Tables of the non-linear functions, each generated from its formula. Golden models and RTL use the same arrays."""

from functools import cache
from math import erf

import numpy as np

from .formats import EXP_ONE, GATE_FRACTION, GELU_FRACTION, QUANTISED_MAX, SCORE_FRACTION

__all__ = [
    "EXP2_GUARD", "GELU_GUARD", "GELU_STEP_BITS", "RECIPROCAL_BITS", "SIGMOID_GUARD", "SIGMOID_STEP_BITS",
    "exp2_table", "exp2_wide_table", "gelu_delta_table", "log2_sigmoid_table", "quantiser_table", "reciprocal_table",
    "rsqrt_table", "sigmoid_table",
]

EXP2_GUARD = 2  # fraction bits kept in exp2_table below the u8 result
GELU_STEP_BITS = 5  # one table step is 2^5 units of 2^-9, i.e. 1/16
GELU_GUARD = 2  # fraction bits kept in gelu_delta_table below the s16 result
GELU_STEPS = 96  # delta(6.0) is below 2^-13: the table ends in zeros
SIGMOID_GUARD = 4  # low bits of a gate logit that are rounded away before a sigmoid's table
SIGMOID_STEP_BITS = 7  # one table step is 2^7 units of 2^-12, i.e. 1/32
SIGMOID_STEPS = 512  # at 16.0 both tables are at most 1
RECIPROCAL_BITS = 11  # of the mantissa that indexes reciprocal and rsqrt, with its leading one


def _frozen(values: np.ndarray) -> np.ndarray:
    table = np.rint(values).astype(np.int64)
    table.setflags(write=False)
    return table


@cache
def quantiser_table() -> np.ndarray:
    """(256,) u16: ``32640 x 2^9 / m`` for the row scale's mantissa ``m = 256 + index``."""
    return _frozen((QUANTISED_MAX << 9) / np.arange(256.0, 512.0))


@cache
def exp2_table() -> np.ndarray:
    """(256,) u10: ``255 x 2^(-index / 256)`` with two guard bits."""
    return _frozen((EXP_ONE << EXP2_GUARD) * 2.0 ** (-np.arange(256) / 256))


@cache
def exp2_wide_table() -> np.ndarray:
    """(256,) u16: ``65535 x 2^(-index / 256)``, for the gate's softmax."""
    return _frozen(65535 * 2.0 ** (-np.arange(256) / 256))


@cache
def reciprocal_table() -> np.ndarray:
    """(1024,) u16: ``2^26 / (M + 1/2)`` for ``M = 1024 + index``, the top 11 bits of the argument."""
    return _frozen(2.0**26 / (np.arange(1024, 2048) + 0.5))


@cache
def rsqrt_table() -> np.ndarray:
    """(1536,) u16: ``2^20 / sqrt(M + 1/2)`` for ``M = 512 + index``, the top 10 or 11 bits of the argument."""
    return _frozen(2.0**20 / np.sqrt(np.arange(512, 2048) + 0.5))


@cache
def gelu_delta_table() -> np.ndarray:
    """(97,) u9: ``relu(a) - gelu(a)`` at ``a = index / 16`` in units of 2^-11 (exact erf GELU; after Edge-MoE)."""
    points = np.arange(GELU_STEPS + 1) / (1 << (GELU_FRACTION - GELU_STEP_BITS))
    delta = points - points * 0.5 * (1 + np.vectorize(erf)(points / np.sqrt(2.0)))
    return _frozen(delta * (1 << (GELU_FRACTION + GELU_GUARD)))


def _sigmoid_points() -> np.ndarray:
    return np.arange(SIGMOID_STEPS + 1) / (1 << (GATE_FRACTION - SIGMOID_GUARD - SIGMOID_STEP_BITS))


@cache
def log2_sigmoid_table() -> np.ndarray:
    """(513,) u17: ``log2(1 + 2^-a)`` at ``a = index / 32`` in units of 2^-16."""
    return _frozen(np.log2(1 + 2.0 ** -_sigmoid_points()) * (1 << GATE_FRACTION))


@cache
def sigmoid_table() -> np.ndarray:
    """(513,) u16: ``1 / (1 + 2^a)`` at ``a = index / 32`` in units of 2^-16."""
    return _frozen((1 << SCORE_FRACTION) / (1 + 2.0 ** _sigmoid_points()))
