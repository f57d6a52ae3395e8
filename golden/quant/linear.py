# SPDX-License-Identifier: Apache-2.0
"""Integer weights, column scales and biases of one linear layer.

A layer's output integer is ``accumulator x row scale x column_scale / 2^shift + bias``. The caller gives ``unit``: the
value of ``accumulator x row scale = 1`` in output integers, for a weight of 1.
"""

from typing import NamedTuple

import numpy as np

from moevit.spec.formats import WEIGHT_MAX

from .errors import RangeError
from .rounding import round_compensated

__all__ = ["Scaled", "Weights", "bias_integers", "quantise_weights", "scale_and_shift"]

SHIFT_MAX = 63
COLUMN_SCALE_BITS = 16


class Scaled(NamedTuple):
    """``value x 2^shift`` as integers u16. The largest is in [2^15, 2^16)."""

    scale: np.ndarray
    shift: int


class Weights(NamedTuple):
    """Weights (..., outputs, inputs), column_scale u16 (..., outputs), and one shift u6 for the whole stack."""

    weight: np.ndarray
    column_scale: np.ndarray
    shift: int

    def reals(self, unit: float | np.ndarray) -> np.ndarray:
        """The real weights that the integers stand for. ``unit`` as in `quantise_weights`."""
        return self.weight * _step(self.column_scale, self.shift, unit)[..., None]


def scale_and_shift(name: str, value: np.ndarray) -> Scaled:
    """Non-negative reals as u16 with one common shift. If all are zero, the result is zeros and shift 63.

    Each is rounded up, so that weights divided by their scale stay in range. Raises RangeError.
    """
    largest = float(np.max(value))
    if largest == 0.0:
        return Scaled(np.zeros(np.shape(value), np.int64), SHIFT_MAX)
    shift = COLUMN_SCALE_BITS - 1 - int(np.floor(np.log2(largest)))
    if np.ceil(np.ldexp(largest, shift)) >= 1 << COLUMN_SCALE_BITS:
        shift -= 1
    if shift < 0:
        raise RangeError(f"{name}: a step of its inputs is up to {largest:.3g} steps of its outputs, a column scale "
                         f"ends at {(1 << COLUMN_SCALE_BITS) - 1}")
    shift = min(shift, SHIFT_MAX)
    return Scaled(np.ceil(np.ldexp(value, shift)).astype(np.int64), shift)


def quantise_weights(name: str, weight: np.ndarray, unit: float | np.ndarray, *, limit: int = WEIGHT_MAX,
                     gram: np.ndarray | None = None) -> Weights:
    """Symmetric weights in ``-limit..limit`` with one scale per output and one shift for the stack. Raises RangeError.

    weight (..., outputs, inputs); unit may be per output. The column scale is rounded first. Weights are then divided
    by the rounded scale, so that its rounding costs nothing. Weights are rounded to nearest. With the inputs' ``gram``
    (..., inputs, inputs), they are rounded so that errors cancel.
    """
    weight = np.asarray(weight, np.float64)
    column_scale, shift = scale_and_shift(f"{name}.weight", np.abs(weight).max(axis=-1) / limit * unit)
    step = _step(column_scale, shift, unit)
    if gram is None:
        integers = np.rint(weight / np.where(step > 0, step, np.inf)[..., None]).astype(np.int64)
    elif weight.ndim == 2:
        integers = round_compensated(weight, step, gram, limit)
    else:
        grams = np.broadcast_to(gram, (len(weight), *gram.shape[-2:]))
        integers = np.stack([round_compensated(*each, limit) for each in zip(weight, step, grams, strict=True)])
    return Weights(integers, column_scale, shift)


def _step(column_scale: np.ndarray, shift: int, unit: float | np.ndarray) -> np.ndarray:
    """The value of a weight integer of 1 (..., outputs)."""
    return np.ldexp(np.divide(column_scale, unit, out=np.zeros(column_scale.shape), where=column_scale > 0), -shift)


def bias_integers(name: str, bias: np.ndarray, fraction: float | np.ndarray, low: int = -32768) -> np.ndarray:
    """``bias x fraction``, rounded to s16. Raises RangeError if a value does not fit."""
    integers = np.rint(np.asarray(bias, np.float64) * fraction)
    if integers.size and (integers.min() < low or integers.max() > 32767):
        worst = np.unravel_index(np.abs(integers).argmax(), integers.shape)
        raise RangeError(f"{name}[{', '.join(map(str, worst))}] = {np.asarray(bias)[worst]:.4g} is "
                         f"{integers[worst]:.0f} as an integer, beyond {low}..32767")
    return integers.astype(np.int64)
