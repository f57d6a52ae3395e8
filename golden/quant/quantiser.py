# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation: a float checkpoint and a few images -> every integer that the machine needs."""

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

from .attention import AttentionQuantiser
from .calibrate import Statistics, calibrate
from .errors import RangeError
from .integer_tensors import LOG2_E, ROW_MAX, IntegerTensors
from .layerwise import Layerwise
from .linear import bias_integers, quantise_weights
from .moments import Moments
from .order import expert_order, renumber, speculated

__all__ = ["layer_count", "quantise"]

RESIDUAL_FRACTION_MAX = 12
RESIDUAL_HEADROOM = 2.0  # for other images: a scale without headroom clips and costs 9 dB
PIXEL_FRACTION = 8  # a pixel n is n / 256
GATE_WEIGHT_MAX = (WEIGHT_MAX << DIGIT_BITS) + (1 << (DIGIT_BITS - 1)) - 1  # two digits
HIDDEN_UNIT = 2.0**-GELU_FRACTION / OPERAND_MAX  # operand x row scale of hidden rows


def quantise(network: Network, tensors: Mapping[str, np.ndarray], images: np.ndarray, *,
             compensate: bool = True, watch: Callable[[str], None] | None = None,
             host: Mapping[str, Any] | None = None) -> QuantisedModel:
    """Quantise float32 ``tensors``, named as in `golden.reference`, calibrated on u8 ``images`` (images, H, W, 3).

    Tensors of heads and ``host`` (`QuantisedModel.host`) go into the result unchanged.

    Without ``compensate``, weights are rounded to nearest. That is faster and 3 dB worse (docs/quantisation.md).
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
    layerwise = Layerwise(model, images, fraction) if compensate else None
    integers = IntegerTensors(network, complete, fraction, watch or (lambda layer: None))
    quantised = _Quantiser(integers, statistics, layerwise).run()
    check(model_bounds(quantised))
    heads = {name: np.asarray(tensor) for name, tensor in tensors.items() if name.startswith(HEADS)}
    return replace(quantised, heads=heads, host=dict(host or {}))


def layer_count(network: Network) -> int:
    """The linear layers that `quantise` makes. All experts of a block count as one layer, all its gates as another."""
    moe = 7 + 2 * bool(network.shared_hidden)
    return 1 + sum(moe if network.is_moe(block) else 6 for block in range(network.depth))


class _Quantiser:
    """Makes the integers of one network, block by block.

    With ``layerwise``, each layer is made for the inputs that the integers before it give. Without it, layers are made
    from the float weights alone.
    """

    def __init__(self, integers: IntegerTensors, statistics: Statistics, layerwise: Layerwise | None):
        self.network, self.integers, self.statistics, self.layerwise = integers.network, integers, statistics, layerwise
        self.residual = 2.0**integers.residual_fraction

    def run(self) -> QuantisedModel:
        integers, layerwise = self.integers, self.layerwise
        integers.linear("patch_embed", 2.0**-PIXEL_FRACTION, self.residual, layerwise and layerwise.pixels())
        integers.out["position"] = bias_integers("position", self._position(), self.residual)
        if layerwise:
            layerwise.embed(integers.out)
        for block in range(self.network.depth):
            if layerwise:
                layerwise.enter(block)
            AttentionQuantiser(integers, self.statistics.ranges[block], layerwise, block).quantise()
            if self.network.is_moe(block):
                self._moe(f"blocks.{block}", block)
            else:
                self._dense(f"blocks.{block}.mlp", self._norm2(block), "gelu")
                if layerwise:
                    layerwise.contract(f"blocks.{block}.mlp.fc2", integers.out)
        dtypes = {name: dtype for name, (_, dtype) in tensor_shapes(self.network).items()}
        arrays = {name: np.asarray(value, dtypes[name]) for name, value in integers.out.items()}
        return QuantisedModel(self.network, arrays, integers.residual_fraction, {"units": integers.units})

    def _position(self) -> np.ndarray:
        """The tokens (tokens, dim) before any patch is added: position, prefix token, bias of the patch embedding."""
        tensors, prefix = self.integers.tensors, self.network.prefix_tokens
        position = tensors["pos_embed"][0].astype(np.float64)
        position[:prefix] += tensors["prefix_tokens"][0]
        position[prefix:] += tensors["patch_embed.proj.bias"]
        return position

    def _norm2(self, block: int) -> tuple[float, Moments | None]:
        """The value of one unit of operand x row scale after norm2, and the moments of such rows."""
        unit = self.integers.norm(f"blocks.{block}.norm2")
        return unit, self.layerwise and self.layerwise.normed("norm2", self.integers.out, unit)

    def _dense(self, name: str, normed: tuple[float, Moments | None], kept: str) -> None:
        """Quantise an FFN that all tokens use. The float model calls its hidden rows ``kept``."""
        integers, layerwise, layer = self.integers, self.layerwise, f"{name}.fc2"
        integers.linear(f"{name}.fc1", normed[0], 2.0**GELU_FRACTION, normed[1])
        drift: np.ndarray | float = 0.0
        moments: Moments | None = None
        stacked = integers.layers[layer].weight.ndim == 3  # a fc2 for each task
        if layerwise:
            tasks = range(len(self.network.tasks)) if stacked else [None]
            each = [layerwise.hidden(f"{name}.fc1", kept, integers.out, HIDDEN_UNIT, task) for task in tasks]
            moments = Moments.stack(each) if stacked else each[0]
            drift = np.stack([layerwise.drift("x_post_attn", task) for task in tasks]) if stacked \
                else layerwise.drift("x_post_attn")
        integers.linear(layer, HIDDEN_UNIT, self.residual, moments, drift)

    def _moe(self, name: str, block: int) -> None:
        integers, layerwise, normed, ffn = self.integers, self.layerwise, self._norm2(block), f"{name}.moe"
        self._gate(f"{ffn}.gate", normed[0] * OPERAND_MAX / QUANTISED_MAX, normed[1])
        if self.network.shared_hidden:
            self._dense(f"{ffn}.shared", normed, "shared_gelu")
        integers.linear(f"{ffn}.fc1", normed[0], 2.0**GELU_FRACTION, normed[1])
        integers.linear(f"{ffn}.fc2", HIDDEN_UNIT, self.residual,
                        layerwise and layerwise.experts_hidden(integers.out, HIDDEN_UNIT))
        loads = self.statistics.loads[block]
        order = expert_order(loads)
        integers.out[f"{ffn}.order"], integers.out[f"{ffn}.speculate"] = order, speculated(loads, order)
        renumber(integers.out, ffn, order)
        if layerwise:
            layerwise.experts(integers.out)

    def _gate(self, name: str, normed: float, moments: Moments | None) -> None:
        """Quantise gates to weights of 15 bits (two digits). Accumulators count units of 2^14.

        A masked expert gets the least bias.
        """
        integers = self.integers
        weight, bias = integers.layers[name]
        unit = normed * 4.0**DIGIT_BITS * LOG2_E * 2.0**GATE_FRACTION
        quantised = quantise_weights(name, weight, unit, limit=GATE_WEIGHT_MAX)
        for part, value in quantised._asdict().items():
            integers.out[f"{name}.{part}"] = value
        if moments:
            bias = bias + weight @ (moments.real - moments.integer)
        biases = bias_integers(f"{name}.bias", bias, LOG2_E * 2.0**LOGIT_FRACTION, low=BIAS_MASKED + 1)
        integers.out[f"{name}.bias"] = np.where(integers.tensors[f"{name}.mask"], biases, BIAS_MASKED)
        if self.network.select_bias:
            mask = integers.tensors[f"{name}.mask"]
            integers.out[f"{name}.select_bias"] = self._select_bias(f"{name}.select_bias", mask)
        integers.watch(name)

    def _select_bias(self, name: str, allowed: np.ndarray) -> np.ndarray:
        """Selection biases around the middle of the experts that a task may use; 0 for the others.

        Only the differences of the biases matter.
        """
        bias = np.where(allowed, self.integers.tensors[name].astype(np.float64), np.nan)
        bias -= (np.nanmax(bias, axis=1, keepdims=True) + np.nanmin(bias, axis=1, keepdims=True)) / 2
        unit = 2.0**SELECT_FRACTION if self.network.gate == "sigmoid" else LOG2_E * 2.0**LOGIT_FRACTION
        return bias_integers(name, np.nan_to_num(bias), unit)


def _residual_fraction(largest: float) -> int:
    """Fraction bits that leave ``RESIDUAL_HEADROOM`` above the largest residual seen. Raises RangeError."""
    if largest == 0.0:
        return RESIDUAL_FRACTION_MAX
    fraction = min(floor(log2(ROW_MAX / (largest * RESIDUAL_HEADROOM))), RESIDUAL_FRACTION_MAX)
    if fraction < 0:
        raise RangeError(f"the residual stream reaches {largest:.4g}: more than 16 bits hold with headroom")
    return fraction
