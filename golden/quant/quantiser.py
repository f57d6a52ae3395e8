# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation: a float checkpoint and a few images -> every integer that the machine needs.

The formulas for ``unit`` follow from what the machine reads (``golden.integer``), RS being the row scale:

* RAW: the operand itself, RS = 1. ROW: stored value = operand x RS / 255.
* NORM: normalised value = operand x RS x dim x 2^(8 - gain fraction) / 255, since RS lacks the factor dim of 1/std.
* NORM by digits: the same with 32640 in place of 255, and the accumulator counts 2^14.
* EXP: softmax = operand x RS.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import floor, log2
from typing import Any

import numpy as np
import torch

from moevit.golden.integer.bounds import check, model_bounds
from moevit.golden.reference import load_state
from moevit.spec.formats import (
    BIAS_MASKED,
    DIGIT_BITS,
    GAIN_SHIFT,
    GATE_FRACTION,
    GELU_FRACTION,
    LOGIT_FRACTION,
    OPERAND_MAX,
    QUANTISED_MAX,
    SELECT_FRACTION,
    WEIGHT_MAX,
)
from moevit.spec.networks import Network
from moevit.spec.quantised import HEADS, QuantisedModel, tensor_shapes

from .calibrate import Statistics, calibrate
from .errors import RangeError
from .fold import fold
from .linear import bias_integers, quantise_weights, scale_and_shift
from .order import expert_order, renumber, speculated

__all__ = ["LOG2_E", "layer_count", "quantise"]

ROW_MAX = 32767
RESIDUAL_FRACTION_MAX = 12
RESIDUAL_HEADROOM = 2.0  # unseen images: a scale without headroom saturates and costs 9 dB
#: Of the static scales. Clipping a tenth costs 2 dB, a fifth too much range nothing visible; values, with a peak per
#: channel, rest on fewer samples.
HEADROOM = {"query": 1.2, "key": 1.1, "value": 1.5}
LEAST_PEAK = 2.0**-6  # of the output expected of independent inputs: calibration may have met a channel at rest
MIX_FRACTION = 8  # bits that a mean of values has below a value's own; 127 x 2^8 and 1/sum's error stay in s16
PIXEL_FRACTION = 8  # a pixel n is n / 256
LOG2_E = 1.4426950408889634
GATE_WEIGHT_MAX = (WEIGHT_MAX << DIGIT_BITS) + (1 << (DIGIT_BITS - 1)) - 1  # two digits


def quantise(network: Network, tensors: Mapping[str, np.ndarray], images: np.ndarray, *,
             compensate: bool = True, watch: Callable[[str], None] | None = None,
             host: Mapping[str, Any] | None = None) -> QuantisedModel:
    """Quantise float32 ``tensors``, named as in `golden.reference`, calibrated on u8 ``images`` (images, H, W, 3).

    Tensors of heads and ``host`` (`QuantisedModel.host`) go into the result as they are.

    Without ``compensate`` weights are rounded to nearest, which is faster and 3 dB worse (docs/quantisation.md).
    ``notes["units"]`` of the result says what 1 is worth in each stored tensor. ``watch`` is called with the name of
    each of `layer_count` linear layers when it is done.

    Raises `reference.CheckpointError` for tensors that are not those of ``network``, CalibrationError for images,
    RangeError for values out of range, BoundsError where an accumulator could overflow.
    """
    model = load_state(network, {name: torch.from_numpy(np.ascontiguousarray(tensor))
                                 for name, tensor in tensors.items()})
    complete = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    statistics = calibrate(model, complete, np.asarray(images), grams=compensate)
    quantised = _Quantiser(network, complete, statistics, watch or (lambda layer: None)).run()
    check(model_bounds(quantised))
    heads = {name: np.asarray(tensor) for name, tensor in tensors.items() if name.startswith(HEADS)}
    return replace(quantised, heads=heads, host=dict(host or {}))


def layer_count(network: Network) -> int:
    """Linear layers that `quantise` works through; the experts of a block count as one layer, the gates as another."""
    moe = 7 + 2 * bool(network.shared_hidden)
    return 1 + sum(moe if network.is_moe(block) else 6 for block in range(network.depth))


class _Quantiser:
    """Collects the integer tensors of one network."""

    def __init__(self, network: Network, tensors: Mapping[str, np.ndarray], statistics: Statistics,
                 watch: Callable[[str], None]):
        self.network, self.tensors, self.statistics = network, tensors, statistics
        self.layers, self.watch = fold(network, tensors), watch
        self.out: dict[str, np.ndarray | int] = {}
        self.units: dict[str, list[float]] = {}
        self.residual_fraction = _residual_fraction(statistics.residual)

    def run(self) -> QuantisedModel:
        residual = 2.0**self.residual_fraction
        self.linear("patch_embed", 2.0**-PIXEL_FRACTION, residual)
        self.out["position"] = bias_integers("position", self._position(), residual)
        for block in range(self.network.depth):
            self._attention(f"blocks.{block}", block)
            self._ffn(f"blocks.{block}", self.network.is_moe(block))
        dtypes = {name: dtype for name, (_, dtype) in tensor_shapes(self.network).items()}
        for block, load in self.statistics.loads.items():
            order = expert_order(load)
            self.out[f"blocks.{block}.moe.order"] = order
            self.out[f"blocks.{block}.moe.speculate"] = speculated(load, order)
        arrays = {name: np.asarray(value, dtypes[name]) for name, value in self.out.items()}
        for block in self.statistics.loads:
            renumber(arrays, f"blocks.{block}.moe", arrays[f"blocks.{block}.moe.order"])
        return QuantisedModel(self.network, arrays, self.residual_fraction, {"units": self.units})

    def linear(self, name: str, operand: float | np.ndarray, fraction: float | np.ndarray) -> None:
        """``operand``: what operand x row scale is worth; ``fraction``: output integers per 1, may be per output.

        An ``operand`` worth something else in each channel (inputs,) goes into the weights.
        """
        weight, bias = self.layers[name]
        gram = self.statistics.gram.get(name)
        if np.ndim(operand):
            weight = weight * operand
            gram = None if gram is None else gram / np.outer(operand, operand)
            operand = 1.0
        quantised = quantise_weights(name, weight, operand * fraction, gram=gram)
        for part, value in quantised._asdict().items():
            self.out[f"{name}.{part}"] = value
        self.out[f"{name}.bias"] = bias_integers(f"{name}.bias", bias, fraction)
        self.watch(name)

    def _position(self) -> np.ndarray:
        """What the tokens are before any patch is added (tokens, dim): position, prefix token, patch bias."""
        position = self.tensors["pos_embed"][0].astype(np.float64)
        prefix = self.network.prefix_tokens
        position[:prefix] += self.tensors["prefix_tokens"][0]
        position[prefix:] += self.tensors["patch_embed.proj.bias"]
        return position

    def _norm(self, name: str) -> float:
        """Store gain and epsilon; returns what operand x row scale is worth, for an operand of one digit."""
        gamma, dim = self.tensors[f"{name}.weight"].astype(np.float64), self.network.dim
        largest = np.abs(gamma).max()
        fraction = floor(log2(ROW_MAX / largest)) if largest else 0
        self.out[f"{name}.gain"] = np.rint(np.ldexp(gamma, fraction))
        epsilon = round(dim * dim * self.network.norm_eps * 4.0**self.residual_fraction)
        if epsilon >= 1 << 32:
            raise RangeError(f"{name}: epsilon {self.network.norm_eps} is {epsilon} as an integer, beyond 32 bits")
        self.out[f"{name}.epsilon"] = max(epsilon, 1)
        return dim * 2.0 ** (GAIN_SHIFT - fraction) / OPERAND_MAX

    def _attention(self, name: str, block: int) -> None:
        """Channels have their own scales where these come back later at no cost.

        A value channel's in the weights of ``proj``; a key channel's in that of the query, with which it is multiplied:
        both are scaled so that their peaks are alike.
        """
        normed = self._norm(f"{name}.norm1")
        peaks = {part: self._peak(name, part, block) for part in HEADROOM}
        product = np.sqrt(peaks["query"] * peaks["key"])  # of a channel, either peak once they are alike
        balance = product / peaks["key"]
        largest = product.max()
        units = {"query": largest / OPERAND_MAX * peaks["query"] / product, "key": largest / WEIGHT_MAX / balance,
                 "value": peaks["value"] / WEIGHT_MAX}
        for part, unit in units.items():
            self.units[f"{name}.attn.{part}"] = unit.tolist()
            self.linear(f"{name}.attn.{part}", normed, 1 / unit)
        logit = largest**2 / (OPERAND_MAX * WEIGHT_MAX)
        self._product(f"{name}.attn.logit", logit * self.network.head_dim**-0.5 * LOG2_E * (1 << LOGIT_FRACTION))
        mix = units["value"] * 2.0**-MIX_FRACTION
        self.units[f"{name}.attn.mix"] = mix.tolist()
        self._product(f"{name}.attn.mix", 2.0**MIX_FRACTION)
        self.linear(f"{name}.attn.proj", mix / OPERAND_MAX, 2.0**self.residual_fraction)

    def _peak(self, name: str, part: str, block: int) -> np.ndarray:
        peak = getattr(self.statistics, part)[block] * HEADROOM[part]
        peak = np.maximum(peak, LEAST_PEAK * self._usual(f"{name}.attn.{part}", f"{name}.norm1"))
        return np.where(peak > 0, peak, 1.0)

    def _usual(self, layer: str, norm: str) -> np.ndarray:
        """Standard deviation (outputs,) of the layer's outputs if normalised inputs were independent."""
        return np.linalg.norm(self.layers[layer].weight * self.tensors[f"{norm}.weight"], axis=1)

    def _product(self, name: str, value: float) -> None:
        scale, shift = scale_and_shift(name, np.asarray(value))
        self.out[f"{name}.scale"], self.out[f"{name}.shift"] = scale, shift

    def _ffn(self, name: str, moe: bool) -> None:
        normed = self._norm(f"{name}.norm2")
        ffn = f"{name}.moe" if moe else f"{name}.mlp"
        if moe:
            self._gate(f"{ffn}.gate", normed * OPERAND_MAX / QUANTISED_MAX)
        for part in (ffn, *([f"{ffn}.shared"] if moe and self.network.shared_hidden else [])):
            self.linear(f"{part}.fc1", normed, 2.0**GELU_FRACTION)
            self.linear(f"{part}.fc2", 2.0**-GELU_FRACTION / OPERAND_MAX, 2.0**self.residual_fraction)

    def _gate(self, name: str, normed: float) -> None:
        """Two digits: weights of 15 bits, accumulators in units of 2^14; a masked expert has the least bias."""
        weight, bias = self.layers[name]
        unit = normed * 4.0**DIGIT_BITS * LOG2_E * 2.0**GATE_FRACTION
        quantised = quantise_weights(name, weight, unit, limit=GATE_WEIGHT_MAX)
        for part, value in quantised._asdict().items():
            self.out[f"{name}.{part}"] = value
        integers = bias_integers(f"{name}.bias", bias, LOG2_E * 2.0**LOGIT_FRACTION, low=BIAS_MASKED + 1)
        self.out[f"{name}.bias"] = np.where(self.tensors[f"{name}.mask"], integers, BIAS_MASKED)
        if self.network.select_bias:
            self.out[f"{name}.select_bias"] = self._select_bias(f"{name}.select_bias", self.tensors[f"{name}.mask"])
        self.watch(name)

    def _select_bias(self, name: str, allowed: np.ndarray) -> np.ndarray:
        """Only differences count: around the middle of the experts that a task may use, 0 for the others."""
        bias = np.where(allowed, self.tensors[name].astype(np.float64), np.nan)
        bias -= (np.nanmax(bias, axis=1, keepdims=True) + np.nanmin(bias, axis=1, keepdims=True)) / 2
        sigmoid = self.network.gate == "sigmoid"
        return bias_integers(name, np.nan_to_num(bias), 2.0**SELECT_FRACTION if sigmoid else LOG2_E * 2.0**LOGIT_FRACTION)


def _residual_fraction(largest: float) -> int:
    """Fraction bits that leave ``RESIDUAL_HEADROOM`` above the largest residual seen."""
    if largest == 0.0:
        return RESIDUAL_FRACTION_MAX
    fraction = min(floor(log2(ROW_MAX / (largest * RESIDUAL_HEADROOM))), RESIDUAL_FRACTION_MAX)
    if fraction < 0:
        raise RangeError(f"the residual stream reaches {largest:.4g}: more than 16 bits hold with headroom")
    return fraction
