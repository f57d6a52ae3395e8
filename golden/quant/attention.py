# SPDX-License-Identifier: Apache-2.0
"""Quantisation of a block's attention: scales for each channel of queries, keys and values.

A channel has a scale of its own where undoing it costs nothing. The scale of a value channel goes into the weights of
``proj``. The scale of a key channel goes into the query channel that it is multiplied by: both get scales that make
their peaks alike.

Keys and values are stored around their centre. A constant added to all keys cancels in the softmax. A constant added to
all values passes through ``proj`` into its bias.
"""

import numpy as np

from moevit.spec.formats import LOGIT_FRACTION, OPERAND_MAX, WEIGHT_MAX

from .calibrate import PARTS, Range
from .fold import Affine, offsets
from .integer_tensors import LOG2_E, ROW_MAX, IntegerTensors
from .layerwise import Layerwise

__all__ = ["AttentionQuantiser"]

#: The largest value that a scale holds, relative to the peak seen in calibration. Clipping a tenth of the range costs 2
#: dB; a range that is a fifth too wide costs nothing visible. Every value channel has a peak of its own, which is seen
#: in fewer samples, so values get more.
HEADROOM = {"query": 1.2, "key": 1.2, "value": 1.75}
#: The least peak, relative to the standard deviation that the outputs have for independent inputs. A channel may happen
#: to be quiet in all calibration images.
LEAST_PEAK = 2.0**-6
#: Standard deviations. A channel that reaches farther in calibration may reach farther still in other images.
TAIL = 6.0
#: The least peak of a value channel after ``proj``, relative to the mean of all channels.
LEAST_SHARE = 0.5
#: Fraction bits by which a mixed value is finer than a value. 127 x 2^8 and the error of 1/sum stay within s16.
MIX_FRACTION = 8


class AttentionQuantiser:
    """The attention of ``block``. ``integers`` takes the results. ``ranges``: of query, key and value in calibration.

    With ``layerwise``, weights and biases are made for the inputs that the integers give. Without it, they come from
    the float weights alone.
    """

    def __init__(self, integers: IntegerTensors, ranges: dict[str, Range], layerwise: Layerwise | None, block: int):
        self.integers, self.ranges, self.layerwise, self.block = integers, ranges, layerwise, block
        self.name = f"blocks.{block}.attn"
        self.norm = f"blocks.{block}.norm1"

    def quantise(self) -> None:
        """Make all integers from norm1 to ``proj``. Raises RangeError."""
        integers, name = self.integers, self.name
        normed = integers.norm(self.norm)
        peaks = {part: self.peak(part) for part in PARTS}
        product = np.sqrt(peaks["query"] * peaks["key"])  # the peak of both once they are alike
        balance = product / peaks["key"]
        largest = product.max()
        units = {"query": largest / OPERAND_MAX * peaks["query"] / product, "key": largest / WEIGHT_MAX / balance,
                 "value": peaks["value"] / WEIGHT_MAX}
        moments = self.layerwise and self.layerwise.normed("norm1", integers.out, normed)
        for part, unit in units.items():
            integers.units[f"{name}.{part}"] = unit.tolist()
            integers.linear(f"{name}.{part}", normed, 1 / unit, moments)
            if part != "query":
                centre = -np.rint(self.ranges[part].centre / unit)
                integers.out[f"{name}.{part}.bias"] = np.clip(centre, -ROW_MAX, ROW_MAX)
        logit = largest**2 / (OPERAND_MAX * WEIGHT_MAX)
        integers.factor(f"{name}.logit", logit * integers.network.head_dim**-0.5 * LOG2_E * (1 << LOGIT_FRACTION))
        mix = units["value"] * 2.0**-MIX_FRACTION
        integers.units[f"{name}.mix"] = mix.tolist()
        integers.factor(f"{name}.mix", 2.0**MIX_FRACTION)
        if self.layerwise:
            self._temper(self.layerwise.temper(integers.out))
        self._project(mix / OPERAND_MAX, integers.out[f"{name}.value.bias"] * units["value"])

    def peak(self, part: str) -> np.ndarray:
        """The largest magnitude (dim,) that is stored without clipping; for keys and values, from their centre."""
        found, layers = self.ranges[part], self.integers.layers
        peak = (found.peak if part == "query" else found.reach) * HEADROOM[part]
        if part == "value":
            peak *= np.clip(found.reach / TAIL / np.where(found.spread > 0, found.spread, np.inf), 1.0, 1.5)
        weight = layers[f"{self.name}.{part}"].weight * self.integers.tensors[f"{self.norm}.weight"]
        peak = np.maximum(peak, LEAST_PEAK * np.linalg.norm(weight, axis=1))
        if part == "value":  # a channel that proj hardly uses may have more room: its noise stays small after proj
            used = np.linalg.norm(layers[f"{self.name}.proj"].weight, axis=0)
            least = LEAST_SHARE * np.mean(peak * used)
            peak = np.maximum(peak, np.minimum(np.divide(least, used, out=peak.copy(), where=used > 0), 8 * peak))
        return np.where(peak > 0, peak, 1.0)

    def _temper(self, factors: np.ndarray) -> None:
        """Multiply the queries of each head by its factor (heads,)."""
        integers, layer = self.integers, f"{self.name}.query"
        factor = np.repeat(factors, integers.network.head_dim)
        for part in ("column_scale", "bias"):
            integers.out[f"{layer}.{part}"] = np.rint(integers.out[f"{layer}.{part}"] * factor)
        integers.units[layer] = (np.array(integers.units[layer]) / factor).tolist()
        integers.units[f"{self.name}.logit"] = factors.tolist()

    def _project(self, operand: np.ndarray, added: np.ndarray) -> None:
        """Quantise ``proj``. Its inputs contain the constant ``added`` (dim,), and lack the one that `fold` removed."""
        integers, layerwise, layer = self.integers, self.layerwise, f"{self.name}.proj"
        weight, bias = integers.layers[layer]
        integers.layers[layer] = Affine(weight, bias - weight @ added)
        constant = offsets(integers.tensors, self.block).value - added
        moments = layerwise and layerwise.attend(integers.out, operand, constant)
        drift = layerwise.drift("x") if layerwise else 0.0
        integers.linear(layer, operand, 2.0**integers.residual_fraction, moments, drift)
        if layerwise:
            layerwise.project(integers.out)
