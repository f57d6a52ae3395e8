# SPDX-License-Identifier: Apache-2.0
"""How far the integers of a quantised model are from the float model, tensor by tensor."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, log10
from typing import cast

import numpy as np
import torch

from moevit.golden.integer.model import Frame, IntegerModel
from moevit.golden.reference import M3ViT, pixels
from moevit.spec.formats import BIAS_MASKED, GATE_FRACTION, GELU_FRACTION, LOGIT_FRACTION
from moevit.spec.quantised import QuantisedModel

from .fold import offsets
from .quantiser import LOG2_E

__all__ = ["BLOCK_TENSORS", "Fidelity", "compare", "dequantised", "sqnr"]

BLOCK_TENSORS = ("q", "k", "v", "attn_logits", "attn_out", "x_post_attn", "gate_logits", "gelu", "x_post_mlp")


def sqnr(reference: np.ndarray, value: np.ndarray) -> float:
    """Signal to quantisation noise in dB."""
    return _decibel(float(np.square(reference).sum()), float(np.square(reference - value).sum()))


def _decibel(signal: float, noise: float) -> float:
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal else -inf


@dataclass
class Fidelity:
    """``sqnr[name]`` in dB over all images and tasks, named as in `dequantised`; ``saturated`` values in all.

    ``routing[block]`` is the share of tokens whose set of experts is that of the float model, ``clear_routing[block]``
    the same among tokens whose last chosen expert leads the next one by more than ``margin``.
    """

    margin: float
    sqnr: dict[str, float] = field(default_factory=dict)
    routing: dict[int, float] = field(default_factory=dict)
    clear_routing: dict[int, float] = field(default_factory=dict)
    saturated: int = 0


def compare(model: M3ViT, quantised: QuantisedModel, images: np.ndarray, margin: float = 0.02) -> Fidelity:
    """Run u8 ``images`` (images, H, W, 3) through both, for every task."""
    integer, network = IntegerModel(quantised), model.network
    power: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    counts: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(4))  # tokens, right; clear ones, right
    saturated = 0
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for image in images:
        for task in range(len(network.tasks)):
            with torch.no_grad():
                trace = {name: value[0].numpy() for name, value in model.trace(pixels(image[None]), task).items()}
            frame = integer.run(image, task)
            saturated += sum(frame.saturated.values())
            for name, value, reference in dequantised(quantised, tensors, frame, trace, task):
                power[name] += np.square(reference).sum(), np.square(reference - value).sum()
            for block in filter(network.is_moe, range(network.depth)):
                same, lead = _routes(quantised, frame, trace, block, task)
                clear = lead > margin
                counts[block] += len(same), same.sum(), clear.sum(), (same & clear).sum()
    return Fidelity(margin, {name: _decibel(*pair) for name, pair in power.items()},
                    {block: float(c[1] / c[0]) for block, c in counts.items()},
                    {block: float(c[3] / c[2]) if c[2] else 1.0 for block, c in counts.items()}, saturated)


def dequantised(quantised: QuantisedModel, tensors: dict[str, np.ndarray], frame: Frame, trace: dict[str, np.ndarray],
                task: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Names, the integers of ``frame`` as reals, and what the float model's ``trace`` has there.

    Names are ``x_embed, tokens`` and, of block i, ``i.`` and one of BLOCK_TENSORS. The float values are brought to what
    is stored: without the constants that `fold` moves, attention logits less the mean of their row, gate logits in the
    quantised model's order. A MoE block's
    ``gelu`` is left out, since its rows are other experts' where the routing differs.
    """
    units, residual = cast(dict[str, list[float]], quantised.notes["units"]), 2.0**-quantised.residual_fraction
    yield "x_embed", frame.trace["x_embed"] * residual, trace["x_embed"]
    for block in range(quantised.network.depth):
        constant, attention = offsets(tensors, block), f"blocks.{block}.attn"
        for part, offset in (("query", 0.0), ("key", constant.key), ("value", constant.value)):
            name = f"{block}.{part[0]}"
            yield name, frame.trace[name] * np.array(units[f"{attention}.{part}"]), trace[name] - offset
        name = f"{block}.attn_logits"
        integer = frame.trace[name] / (LOG2_E * 2.0**LOGIT_FRACTION)
        yield name, _centred(integer), _centred(trace[name])
        name = f"{block}.attn_out"
        yield name, frame.trace[name] * np.array(units[f"{attention}.mix"]), trace[name] - constant.value
        for name in (f"{block}.x_post_attn", f"{block}.x_post_mlp"):
            yield name, frame.trace[name] * residual, trace[name]
        if quantised.network.is_moe(block):
            name = f"{block}.gate_logits"
            allowed = _allowed(quantised, block, task)
            integer = frame.trace[name] / (LOG2_E * 2.0**GATE_FRACTION)
            yield name, integer[:, allowed], trace[name][:, quantised[f"blocks.{block}.moe.order"]][:, allowed]
        else:
            name = f"{block}.gelu"
            yield name, frame.trace[name] * 2.0**-GELU_FRACTION, trace[name]
    yield "tokens", frame.tokens * residual, trace["tokens"]


def _centred(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=-1, keepdims=True)


def _allowed(quantised: QuantisedModel, block: int, task: int) -> np.ndarray:
    return quantised[f"blocks.{block}.moe.gate.bias"][task] != BIAS_MASKED


def _routes(quantised: QuantisedModel, frame: Frame, trace: dict[str, np.ndarray], block: int,
            task: int) -> tuple[np.ndarray, np.ndarray]:
    """Per token: whether both models chose the same experts, and the float lead of the last chosen over the next."""
    k, order = quantised.network.top_k, quantised[f"blocks.{block}.moe.order"]
    allowed = order[_allowed(quantised, block, task)]
    same = (np.sort(order[frame.trace[f"{block}.top_k_index"]], axis=1)
            == np.sort(trace[f"{block}.top_k_index"], axis=1)).all(axis=1)
    descending = -np.sort(-trace[f"{block}.gate_logits"][:, allowed], axis=1)
    lead = descending[:, k - 1] - descending[:, k] if len(allowed) > k else np.full(len(same), inf)
    return same, lead
