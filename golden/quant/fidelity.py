# SPDX-License-Identifier: Apache-2.0
"""The distance between a quantised model and the float model, tensor by tensor."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, log10
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F

from moevit.golden.integer.frame import Frame
from moevit.golden.integer.model import IntegerModel
from moevit.golden.reference import M3ViT, pixels
from moevit.spec.formats import BIAS_MASKED, GATE_FRACTION, GELU_FRACTION, LOGIT_FRACTION
from moevit.spec.quantised import QuantisedModel

from .fold import offsets
from .integer_tensors import LOG2_E

__all__ = ["BLOCK_TENSORS", "CLEAR", "Fidelity", "Routes", "compare", "dequantised", "routed", "sqnr"]

#: A token's lead is clear above this many standard deviations of the gate's noise. The difference of two logits has 1.4
#: times the noise of one. So a token with a lead just above takes another expert in a few of a hundred cases, and
#: hardly ever with a larger lead.
CLEAR = 3.0

BLOCK_TENSORS = ("q", "k", "v", "attn_logits", "attn_out", "x_post_attn", "gate_logits", "gelu", "x_post_mlp")


def sqnr(reference: np.ndarray, value: np.ndarray) -> float:
    """Signal to quantisation noise ratio in dB."""
    return _decibel(float(np.square(reference).sum()), float(np.square(reference - value).sum()))


def _decibel(signal: float, noise: float) -> float:
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal else -inf


@dataclass
class Fidelity:
    """Figures over all images and tasks. Tensors are named as in `dequantised`.

    ``sqnr[name]``: in dB. ``cosines``: of every final token and the float model's token, after the final norm if there
    is one. ``saturated[name]`` of the ``written[name]`` values of a tensor were clipped.

    Of each MoE block, with all blocks before it in integers: ``gate_noise`` is the standard deviation of the integer
    gate logits around the float ones. ``routing`` is the share of tokens that go to the same experts as in the float
    model. ``clear`` counts the tokens whose last chosen expert leads the next one by more than ``CLEAR`` times the
    noise; ``clear_routing`` is ``routing`` among these.
    """

    sqnr: dict[str, float] = field(default_factory=dict)
    cosines: np.ndarray = field(default_factory=lambda: np.zeros(0))
    saturated: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    gate_noise: dict[int, float] = field(default_factory=dict)
    routing: dict[int, float] = field(default_factory=dict)
    clear: dict[int, int] = field(default_factory=dict)
    clear_routing: dict[int, float] = field(default_factory=dict)


def compare(model: M3ViT, quantised: QuantisedModel, images: np.ndarray) -> Fidelity:
    """Run ``images`` u8 (images, H, W, 3) through both models, for every task."""
    integer, network, found = IntegerModel(quantised), model.network, Fidelity()
    power: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    routes: dict[int, list[Routes]] = defaultdict(list)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    cosines = []
    for image in images:
        for task in range(len(network.tasks)):
            with torch.no_grad():
                trace = {name: value[0].numpy() for name, value in model.trace(pixels(image[None]), task).items()}
            frame = integer.run(image, task)
            for name, clipped in frame.saturated.items():
                found.saturated[name] = found.saturated.get(name, 0) + clipped
                found.written[name] = found.written.get(name, 0) + frame.trace[name].size
            for name, value, reference in dequantised(quantised, tensors, frame, trace, task):
                power[name] += np.square(reference).sum(), np.square(reference - value).sum()
            cosines.append(_cosines(model, trace["tokens"], frame.tokens * 2.0**-quantised.residual_fraction))
            for block in filter(network.is_moe, range(network.depth)):
                routes[block].append(routed(quantised, frame, trace, block, task))
    found.sqnr, found.cosines = {name: _decibel(*pair) for name, pair in power.items()}, np.concatenate(cosines)
    for block, each in routes.items():
        same, lead, error = (np.concatenate(parts) for parts in zip(*each, strict=True))
        found.gate_noise[block], found.routing[block] = float(error.std()), float(same.mean())
        clear = lead > CLEAR * found.gate_noise[block]
        found.clear[block] = int(clear.sum())
        found.clear_routing[block] = float(same[clear].mean()) if clear.any() else 1.0
    return found


@torch.no_grad()
def _cosines(model: M3ViT, *tokens: np.ndarray) -> np.ndarray:
    """The cosine of each pair of tokens (tokens,) of two (tokens, dim), after the final norm if there is one."""
    one, other = (torch.from_numpy(each.astype(np.float32)) for each in tokens)
    if model.norm is not None:
        one, other = model.norm(one), model.norm(other)
    return F.cosine_similarity(one, other).numpy()


def dequantised(quantised: QuantisedModel, tensors: dict[str, np.ndarray], frame: Frame, trace: dict[str, np.ndarray],
                task: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield for each tensor its name, the integers of ``frame`` as reals, and the values of the float ``trace``.

    The names are ``x_embed``, ``tokens`` and, for block i, ``i.`` with one of BLOCK_TENSORS. Float values are converted
    to what the machine stores: without the constants that `fold` moves, attention logits less the mean of their row,
    gate logits in the order of the quantised model. ``gelu`` of a MoE block is left out: where the routing differs, its
    rows belong to other experts.
    """
    units, residual = cast(dict[str, list[float]], quantised.notes["units"]), 2.0**-quantised.residual_fraction
    yield "x_embed", frame.trace["x_embed"] * residual, trace["x_embed"]
    for block in range(quantised.network.depth):
        constant, attention = offsets(tensors, block), f"blocks.{block}.attn"
        for part, offset in (("query", 0.0), ("key", constant.key), ("value", constant.value)):
            name, unit = f"{block}.{part[0]}", np.array(units[f"{attention}.{part}"])
            added = quantised[f"{attention}.{part}.bias"] * unit if part != "query" else 0.0
            yield name, frame.trace[name] * unit, trace[name] - offset + added
        name = f"{block}.attn_logits"
        factors = np.array(units.get(f"{attention}.logit", 1.0)).reshape(-1, 1, 1)
        integer = frame.trace[name] / (LOG2_E * 2.0**LOGIT_FRACTION) / factors
        yield name, _centred(integer), _centred(trace[name])
        name = f"{block}.attn_out"
        yield name, frame.trace[name] * np.array(units[f"{attention}.mix"]), trace[name] - constant.value + added
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


class Routes(NamedTuple):
    """Routing of both models. For each token: ``same``, both chose the same experts; ``lead``, the float lead of the
    last chosen expert over the next one. ``error`` (any,): of the gate logits of experts that the task may use."""

    same: np.ndarray
    lead: np.ndarray
    error: np.ndarray


def routed(quantised: QuantisedModel, frame: Frame, trace: Mapping[str, np.ndarray], block: int, task: int) -> Routes:
    """Compare the routing of a MoE block in ``frame`` with that of the float ``trace``."""
    k, order = quantised.network.top_k, quantised[f"blocks.{block}.moe.order"]
    allowed = _allowed(quantised, block, task)
    same = (np.sort(order[frame.trace[f"{block}.top_k_index"]], axis=1)
            == np.sort(trace[f"{block}.top_k_index"], axis=1)).all(axis=1)
    reference = trace[f"{block}.gate_logits"][:, order][:, allowed]
    error = frame.trace[f"{block}.gate_logits"][:, allowed] / (LOG2_E * 2.0**GATE_FRACTION) - reference
    descending = -np.sort(-reference, axis=1)
    lead = descending[:, k - 1] - descending[:, k] if reference.shape[1] > k else np.full(len(same), inf)
    return Routes(same, lead, error.ravel())
