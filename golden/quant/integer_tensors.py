# SPDX-License-Identifier: Apache-2.0
"""The integer tensors of a network while the quantiser makes them, layer by layer.

A layer's output integer is ``accumulator x row scale x column scale / 2^shift + bias`` (`linear`). The value of one
unit of ``operand x row scale`` (RS) follows from what the machine reads (``golden.integer``):

* RAW: the operand itself; RS is 1.
* ROW: stored value = operand x RS / 255.
* NORM: normalised value = operand x RS x dim x 2^(8 - gain fraction) / 255. RS lacks the factor dim of 1/std.
* NORM by digits: the same with 32640 in place of 255; an accumulator unit counts 2^14.
* EXP: softmax = operand x RS.
"""

from collections.abc import Callable, Mapping
from math import floor, log2
from typing import Any

import numpy as np

from moevit.spec.formats import GAIN_SHIFT, OPERAND_MAX
from moevit.spec.networks import Network

from .errors import RangeError
from .fold import fold
from .linear import bias_integers, quantise_weights, scale_and_shift
from .moments import Moments

__all__ = ["LOG2_E", "ROW_MAX", "IntegerTensors"]

ROW_MAX = 32767
LOG2_E = 1.4426950408889634


class IntegerTensors:
    """Collects the integer tensors of one network.

    ``tensors`` are the float ones, ``layers`` the linear layers that `fold` makes of them. ``out`` has the integers by
    name. ``units`` says what 1 is worth in each stored tensor. Residual rows have ``residual_fraction`` fraction bits.
    ``watch`` is called with the name of each linear layer that is done.
    """

    def __init__(self, network: Network, tensors: Mapping[str, np.ndarray], residual_fraction: int,
                 watch: Callable[[str], None]):
        self.network, self.tensors, self.residual_fraction, self.watch = network, tensors, residual_fraction, watch
        self.layers = fold(network, tensors)
        self.out: dict[str, Any] = {}
        self.units: dict[str, list[float]] = {}

    def linear(self, name: str, operand: float | np.ndarray, fraction: float | np.ndarray, moments: Moments | None,
               drift: np.ndarray | float = 0.0) -> None:
        """Quantise the linear layer ``name``. Raises RangeError.

        ``operand``: the value of one unit of operand x row scale, one number or one per input (inputs,). ``fraction``:
        output integers per 1, one number or one per output. With ``moments`` of the inputs, weights are rounded so that
        errors cancel, and the bias corrects the mean output to that of the float layer plus ``drift``.
        """
        weight, bias = self.layers[name]
        if np.ndim(operand):  # a value per input goes into the weights
            weight = weight * operand
            moments = moments and moments.scaled(np.asarray(operand))
            operand = 1.0
        quantised = quantise_weights(name, weight, operand * fraction, gram=moments and moments.gram)
        for part, value in quantised._asdict().items():
            self.out[f"{name}.{part}"] = value
        if moments:
            bias = bias + _mean(weight, moments.real) - _mean(quantised.reals(operand * fraction), moments.integer)
        self.out[f"{name}.bias"] = bias_integers(f"{name}.bias", bias + drift, fraction)
        self.watch(name)

    def norm(self, name: str) -> float:
        """Store gain and epsilon of a LayerNorm. Returns the value of one unit of operand x row scale, for an operand
        of one digit. Raises RangeError."""
        gamma, dim = self.tensors[f"{name}.weight"].astype(np.float64), self.network.dim
        largest = np.abs(gamma).max()
        fraction = floor(log2(ROW_MAX / largest)) if largest else 0
        self.out[f"{name}.gain"] = np.rint(np.ldexp(gamma, fraction))
        epsilon = round(dim * dim * self.network.norm_eps * 4.0**self.residual_fraction)
        if epsilon >= 1 << 32:
            raise RangeError(f"{name}: epsilon {self.network.norm_eps} is {epsilon} as an integer, beyond 32 bits")
        self.out[f"{name}.epsilon"] = max(epsilon, 1)
        return dim * 2.0 ** (GAIN_SHIFT - fraction) / OPERAND_MAX

    def factor(self, name: str, value: float) -> None:
        """Store ``value``, the factor of a product within attention, as scale and shift. Raises RangeError."""
        self.out[f"{name}.scale"], self.out[f"{name}.shift"] = scale_and_shift(name, np.asarray(value))


def _mean(weight: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Output (..., outputs) of the weight (..., outputs, inputs) for mean inputs (inputs,) or (..., inputs)."""
    return np.einsum("...oi,...i->...o", weight, inputs)
