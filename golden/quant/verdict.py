# SPDX-License-Identifier: Apache-2.0
"""Judges a quantised model: its worst tensor, its clipped values, its routing, and a warning for each doubt.

Every tensor is checked, because a mean over all tensors hides a broken layer.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from moevit.spec.networks import ACTIVATION_ERROR
from moevit.spec.quantised import QuantisedModel

from .fidelity import Fidelity

__all__ = ["Verdict", "verdict"]

#: Of the final tokens. Networks that work have a median of 0.999 and more. Below it, heads begin to answer otherwise.
LEAST_MEDIAN = 0.999
#: Of the worst token. A token farther from the float model has another meaning.
LEAST_COSINE = 0.98
#: dB of any tensor. Every block of a network that works has 20 dB and more. At 10 dB the noise is a third of the
#: signal.
LEAST_SQNR = 10.0
#: Share of a tensor's values. Normal clipping is a few values in a million.
MOST_SATURATED = 1e-4
#: Share of the tokens with a clear lead that go to the float model's experts.
LEAST_CLEAR_ROUTING = 0.99
#: Share of the residual's range that one constant may use. Beyond it, all other values have two bits less.
MOST_CONSTANT = 0.25
#: An activation that is further than this from the machine's table is named.
MOST_DISTANCE = 0.01


@dataclass(frozen=True)
class Verdict:
    """The judgement of a quantised model.

    ``worst``: the tensor with the least SQNR (named as in `fidelity.dequantised`), ``worst_sqnr`` in dB. ``sqnr`` in dB
    and the cosines are of the final tokens. ``saturated[kind]``: clipped values and all values of a kind of tensor
    (``v``, ``x_post_mlp``), over all blocks. ``routing[block]``: the share of tokens with a clear lead that go to the
    float model's experts. ``warnings``: sentences; without any, nothing is in doubt.
    """

    worst: str
    worst_sqnr: float
    sqnr: float
    cosine_median: float
    cosine_least: float
    saturated: dict[str, tuple[int, int]]
    routing: dict[int, float]
    warnings: tuple[str, ...]


def verdict(quantised: QuantisedModel, tensors: Mapping[str, np.ndarray], fidelity: Fidelity) -> Verdict:
    """Judge ``fidelity``, the comparison of ``quantised`` with the float ``tensors``."""
    worst = min(fidelity.sqnr, key=lambda name: fidelity.sqnr[name])
    saturated: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for name, clipped in fidelity.saturated.items():
        kind = name.rpartition(".")[2]
        saturated[kind] = saturated[kind][0] + clipped, saturated[kind][1] + fidelity.written[name]
    warnings = (*_tensors(fidelity), *_tokens(fidelity), *_routing(fidelity), *_constants(quantised, tensors),
                *_activation(quantised.network.activation))
    return Verdict(worst, fidelity.sqnr[worst], fidelity.sqnr["tokens"], float(np.median(fidelity.cosines)),
                   float(fidelity.cosines.min()), dict(saturated), fidelity.clear_routing, warnings)


def _tensors(fidelity: Fidelity) -> Iterator[str]:
    drowned = {name: decibel for name, decibel in fidelity.sqnr.items() if decibel < LEAST_SQNR}
    if drowned:
        worst = min(drowned, key=lambda name: drowned[name])
        others = f", and {len(drowned) - 1} others" if len(drowned) > 1 else ""
        yield (f"{_named(worst)} is lost in noise: {drowned[worst]:.1f} dB to the float model{others} "
               f"(below {LEAST_SQNR:.0f} dB)")
    for name, clipped in fidelity.saturated.items():
        if clipped > MOST_SATURATED * fidelity.written[name]:
            yield (f"{_named(name)} clips: {clipped} of {fidelity.written[name]} values; calibrate on images like "
                   f"those that it will see")


def _tokens(fidelity: Fidelity) -> Iterator[str]:
    median, least = float(np.median(fidelity.cosines)), float(fidelity.cosines.min())
    if median < LEAST_MEDIAN:
        yield f"final tokens: the median cosine with the float model is {median:.4f}, below {LEAST_MEDIAN}"
    if least < LEAST_COSINE:
        yield f"final tokens: the least cosine with the float model is {least:.4f}, below {LEAST_COSINE}"


def _routing(fidelity: Fidelity) -> Iterator[str]:
    for block, share in fidelity.clear_routing.items():
        if share < LEAST_CLEAR_ROUTING:
            yield (f"blocks.{block}.moe.gate: {share:.1%} of the tokens with a clear lead go to the float model's "
                   f"experts, below {LEAST_CLEAR_ROUTING:.0%}")


def _constants(quantised: QuantisedModel, tensors: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Warn of constants that alone set the scale of the residual rows."""
    limit = MOST_CONSTANT * 32767 * 2.0**-quantised.residual_fraction
    for name, tensor in tensors.items():
        if name.endswith(("proj.bias", "fc2.bias", "pos_embed")) and np.abs(tensor).max(initial=0.0) > limit:
            place = np.unravel_index(np.abs(tensor).argmax(), tensor.shape)
            yield (f"{name}[{', '.join(map(str, place))}] = {tensor[place]:.4g} takes over {MOST_CONSTANT:.0%} of the "
                   f"residual's range, whose step is {2.0**-quantised.residual_fraction:.2g}: smaller values drown")


def _activation(name: str) -> Iterator[str]:
    if ACTIVATION_ERROR[name] > MOST_DISTANCE:
        yield (f"activation {name} runs on the table of the exact GELU, up to {ACTIVATION_ERROR[name]} apart: the "
               f"figures contain it")


def _named(name: str) -> str:
    """``3.v`` as ``blocks.3 v``."""
    block, _, tensor = name.rpartition(".")
    return f"blocks.{block} {tensor}" if block else tensor
