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

from .calibrate import PARTS, Statistics, calibrate
from .errors import RangeError
from .fold import Affine, fold, offsets
from .layerwise import Layerwise
from .linear import bias_integers, quantise_weights, scale_and_shift
from .moments import Moments
from .order import expert_order, renumber, speculated

__all__ = ["LOG2_E", "layer_count", "quantise"]

ROW_MAX = 32767
RESIDUAL_FRACTION_MAX = 12
RESIDUAL_HEADROOM = 2.0  # unseen images: a scale without headroom saturates and costs 9 dB
#: Of the static scales. Clipping a tenth costs 2 dB, a fifth too much range nothing visible; values, with a peak per
#: channel, rest on fewer samples.
HEADROOM = {"query": 1.2, "key": 1.2, "value": 1.75}
LEAST_PEAK = 2.0**-6  # of the output expected of independent inputs: calibration may have met a channel at rest
TAIL = 6.0  # standard deviations; a channel that reaches farther while it is calibrated may go farther still
LEAST_SHARE = 0.5  # of the mean peak of values, as they come out of proj
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
    images = np.asarray(images)
    statistics = calibrate(model, complete, images)
    fraction = _residual_fraction(statistics.residual)
    stream = Layerwise(model, images, fraction) if compensate else None
    quantised = _Quantiser(network, complete, statistics, fraction, stream, watch or (lambda layer: None)).run()
    check(model_bounds(quantised))
    heads = {name: np.asarray(tensor) for name, tensor in tensors.items() if name.startswith(HEADS)}
    return replace(quantised, heads=heads, host=dict(host or {}))


def layer_count(network: Network) -> int:
    """Linear layers that `quantise` works through; the experts of a block count as one layer, the gates as another."""
    moe = 7 + 2 * bool(network.shared_hidden)
    return 1 + sum(moe if network.is_moe(block) else 6 for block in range(network.depth))


class _Quantiser:
    """Collects the integer tensors of one network, block by block along ``stream``; without one, from weights alone."""

    def __init__(self, network: Network, tensors: Mapping[str, np.ndarray], statistics: Statistics, fraction: int,
                 stream: Layerwise | None, watch: Callable[[str], None]):
        self.network, self.tensors, self.statistics, self.stream = network, tensors, statistics, stream
        self.layers, self.watch, self.residual_fraction = fold(network, tensors), watch, fraction
        self.out: dict[str, Any] = {}
        self.units: dict[str, list[float]] = {}

    def run(self) -> QuantisedModel:
        residual, stream = 2.0**self.residual_fraction, self.stream
        self.linear("patch_embed", 2.0**-PIXEL_FRACTION, residual, stream and stream.pixels())
        self.out["position"] = bias_integers("position", self._position(), residual)
        if stream:
            stream.embed(self.out)
        for block in range(self.network.depth):
            if stream:
                stream.enter(block)
            self._attention(f"blocks.{block}", block)
            if self.network.is_moe(block):
                self._moe(f"blocks.{block}", block)
            else:
                self._dense(f"blocks.{block}.mlp", self._norm2(block), "gelu")
                if stream:
                    stream.contract(f"blocks.{block}.mlp.fc2", self.out)
        dtypes = {name: dtype for name, (_, dtype) in tensor_shapes(self.network).items()}
        arrays = {name: np.asarray(value, dtypes[name]) for name, value in self.out.items()}
        return QuantisedModel(self.network, arrays, self.residual_fraction, {"units": self.units})

    def linear(self, name: str, operand: float | np.ndarray, fraction: float | np.ndarray, moments: Moments | None,
               drift: np.ndarray | float = 0.0) -> None:
        """``operand``: what operand x row scale is worth; ``fraction``: output integers per 1, may be per output.

        An ``operand`` worth something else in each channel (inputs,) goes into the weights. ``moments`` of the inputs
        say how weights are rounded, and the bias gets what makes the mean output that of the float layer, plus
        ``drift``.
        """
        weight, bias = self.layers[name]
        if np.ndim(operand):
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
        both are scaled so that their peaks are alike. Keys and values are stored around their centre: what is added to
        all keys cancels in the softmax, what is added to all values goes on into the bias of ``proj``.
        """
        normed, stream = self._norm(f"{name}.norm1"), self.stream
        peaks = {part: self._peak(name, part, block) for part in PARTS}
        product = np.sqrt(peaks["query"] * peaks["key"])  # of a channel, either peak once they are alike
        balance = product / peaks["key"]
        largest = product.max()
        units = {"query": largest / OPERAND_MAX * peaks["query"] / product, "key": largest / WEIGHT_MAX / balance,
                 "value": peaks["value"] / WEIGHT_MAX}
        moments = stream and stream.normed("norm1", self.out, normed)
        for part, unit in units.items():
            self.units[f"{name}.attn.{part}"] = unit.tolist()
            self.linear(f"{name}.attn.{part}", normed, 1 / unit, moments)
            if part != "query":
                centre = -np.rint(self.statistics.ranges[block][part].centre / unit)
                self.out[f"{name}.attn.{part}.bias"] = np.clip(centre, -ROW_MAX, ROW_MAX)
        logit = largest**2 / (OPERAND_MAX * WEIGHT_MAX)
        self._product(f"{name}.attn.logit", logit * self.network.head_dim**-0.5 * LOG2_E * (1 << LOGIT_FRACTION))
        mix = units["value"] * 2.0**-MIX_FRACTION
        self.units[f"{name}.attn.mix"] = mix.tolist()
        self._product(f"{name}.attn.mix", 2.0**MIX_FRACTION)
        if stream:
            self._temper(name, stream.temper(self.out))
        self._project(name, block, mix / OPERAND_MAX, self.out[f"{name}.attn.value.bias"] * units["value"])

    def _temper(self, name: str, factors: np.ndarray) -> None:
        """Multiply the queries of each head by its factor (heads,)."""
        layer, factor = f"{name}.attn.query", np.repeat(factors, self.network.head_dim)
        for part in ("column_scale", "bias"):
            self.out[f"{layer}.{part}"] = np.rint(self.out[f"{layer}.{part}"] * factor)
        self.units[layer] = (np.array(self.units[layer]) / factor).tolist()
        self.units[f"{name}.attn.logit"] = factors.tolist()

    def _project(self, name: str, block: int, operand: np.ndarray, added: np.ndarray) -> None:
        """``proj``, whose inputs have ``added`` (dim,) in them besides what `fold` took out."""
        layer, stream = f"{name}.attn.proj", self.stream
        weight, bias = self.layers[layer]
        self.layers[layer] = Affine(weight, bias - weight @ added)
        constant = offsets(self.tensors, block).value - added
        moments = stream and stream.attend(self.out, operand, constant)
        self.linear(layer, operand, 2.0**self.residual_fraction, moments, stream.drift("x") if stream else 0.0)
        if stream:
            stream.project(self.out)

    def _peak(self, name: str, part: str, block: int) -> np.ndarray:
        """Largest magnitude (dim,) that is stored without clipping; of keys and values, from their centre."""
        found = self.statistics.ranges[block][part]
        peak = (found.peak if part == "query" else found.reach) * HEADROOM[part]
        if part == "value":
            peak *= np.clip(found.reach / TAIL / np.where(found.spread > 0, found.spread, np.inf), 1.0, 1.5)
        peak = np.maximum(peak, LEAST_PEAK * self._usual(f"{name}.attn.{part}", f"{name}.norm1"))
        if part == "value":  # a channel that proj hardly uses may have more room: its noise then still is a small part
            used = np.linalg.norm(self.layers[f"{name}.attn.proj"].weight, axis=0)
            floor = LEAST_SHARE * np.mean(peak * used)
            peak = np.maximum(peak, np.minimum(np.divide(floor, used, out=peak.copy(), where=used > 0), 8 * peak))
        return np.where(peak > 0, peak, 1.0)

    def _usual(self, layer: str, norm: str) -> np.ndarray:
        """Standard deviation (outputs,) of the layer's outputs if normalised inputs were independent."""
        return np.linalg.norm(self.layers[layer].weight * self.tensors[f"{norm}.weight"], axis=1)

    def _product(self, name: str, value: float) -> None:
        scale, shift = scale_and_shift(name, np.asarray(value))
        self.out[f"{name}.scale"], self.out[f"{name}.shift"] = scale, shift

    def _norm2(self, block: int) -> tuple[float, Moments | None]:
        """What a normalised operand x row scale is worth, and the moments of such rows."""
        unit = self._norm(f"blocks.{block}.norm2")
        return unit, self.stream and self.stream.normed("norm2", self.out, unit)

    def _dense(self, name: str, normed: tuple[float, Moments | None], kept: str) -> None:
        """An FFN that all tokens use; ``kept``: what the float model calls its hidden rows."""
        stream, unit, residual = self.stream, 2.0**-GELU_FRACTION / OPERAND_MAX, 2.0**self.residual_fraction
        self.linear(f"{name}.fc1", normed[0], 2.0**GELU_FRACTION, normed[1])
        layer = f"{name}.fc2"
        drift: np.ndarray | float = 0.0
        moments: Moments | None = None
        stacked = self.layers[layer].weight.ndim == 3
        if stream:
            tasks = range(len(self.network.tasks)) if stacked else [None]
            each = [stream.hidden(f"{name}.fc1", kept, self.out, unit, task) for task in tasks]
            moments = Moments.stack(each) if stacked else each[0]
            drift = np.stack([stream.drift("x_post_attn", task) for task in tasks]) if stacked \
                else stream.drift("x_post_attn")
        self.linear(layer, unit, residual, moments, drift)

    def _moe(self, name: str, block: int) -> None:
        normed, ffn, stream = self._norm2(block), f"{name}.moe", self.stream
        self._gate(f"{ffn}.gate", normed[0] * OPERAND_MAX / QUANTISED_MAX, normed[1])
        if self.network.shared_hidden:
            self._dense(f"{ffn}.shared", normed, "shared_gelu")
        unit = 2.0**-GELU_FRACTION / OPERAND_MAX
        self.linear(f"{ffn}.fc1", normed[0], 2.0**GELU_FRACTION, normed[1])
        self.linear(f"{ffn}.fc2", unit, 2.0**self.residual_fraction, stream and stream.experts_hidden(self.out, unit))
        order = expert_order(self.statistics.loads[block])
        self.out[f"{ffn}.order"], self.out[f"{ffn}.speculate"] = order, speculated(self.statistics.loads[block], order)
        renumber(self.out, ffn, order)
        if stream:
            stream.experts(self.out)

    def _gate(self, name: str, normed: float, moments: Moments | None) -> None:
        """Two digits: weights of 15 bits, accumulators in units of 2^14; a masked expert has the least bias."""
        weight, bias = self.layers[name]
        unit = normed * 4.0**DIGIT_BITS * LOG2_E * 2.0**GATE_FRACTION
        quantised = quantise_weights(name, weight, unit, limit=GATE_WEIGHT_MAX)
        for part, value in quantised._asdict().items():
            self.out[f"{name}.{part}"] = value
        if moments:
            bias = bias + weight @ (moments.real - moments.integer)
        integers = bias_integers(f"{name}.bias", bias, LOG2_E * 2.0**LOGIT_FRACTION, low=BIAS_MASKED + 1)
        self.out[f"{name}.bias"] = np.where(self.tensors[f"{name}.mask"], integers, BIAS_MASKED)
        if self.network.select_bias:
            self.out[f"{name}.select_bias"] = self._select_bias(f"{name}.select_bias", self.tensors[f"{name}.mask"])
        self.watch(name)

    def _select_bias(self, name: str, allowed: np.ndarray) -> np.ndarray:
        """Only differences count: around the middle of the experts that a task may use, 0 for the others."""
        bias = np.where(allowed, self.tensors[name].astype(np.float64), np.nan)
        bias -= (np.nanmax(bias, axis=1, keepdims=True) + np.nanmin(bias, axis=1, keepdims=True)) / 2
        unit = 2.0**SELECT_FRACTION if self.network.gate == "sigmoid" else LOG2_E * 2.0**LOGIT_FRACTION
        return bias_integers(name, np.nan_to_num(bias), unit)


def _mean(weight: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Output (..., outputs) of the weight (..., outputs, inputs) for mean inputs (inputs,) or (..., inputs)."""
    return np.einsum("...oi,...i->...o", weight, inputs)


def _residual_fraction(largest: float) -> int:
    """Fraction bits that leave ``RESIDUAL_HEADROOM`` above the largest residual seen."""
    if largest == 0.0:
        return RESIDUAL_FRACTION_MAX
    fraction = min(floor(log2(ROW_MAX / (largest * RESIDUAL_HEADROOM))), RESIDUAL_FRACTION_MAX)
    if fraction < 0:
        raise RangeError(f"the residual stream reaches {largest:.4g}: more than 16 bits hold with headroom")
    return fraction
