# SPDX-License-Identifier: Apache-2.0
"""Prints the verdict on a quantised model."""

from collections.abc import Mapping

import numpy as np

from moevit.golden.quant.fidelity import Fidelity
from moevit.golden.quant.verdict import Verdict, verdict
from moevit.spec.quantised import QuantisedModel

from .screen import say

__all__ = ["show"]


def show(model: QuantisedModel, tensors: Mapping[str, np.ndarray], fidelity: Fidelity) -> Verdict:
    """Print the worst tensor, the final tokens, clipped values, the routing, and each warning."""
    found = verdict(model, tensors, fidelity)
    say(f"worst tensor   {found.worst}: {found.worst_sqnr:.1f} dB")
    say(f"final tokens   {found.sqnr:.1f} dB; cosine median {found.cosine_median:.5f}, least {found.cosine_least:.5f}")
    clipped = [f"{kind} {count:,} of {written:,}" for kind, (count, written) in found.saturated.items() if count]
    say(f"saturated      {', '.join(clipped) or 'nothing'}")
    if found.routing:
        block = min(found.routing, key=lambda each: found.routing[each])
        say(f"same experts   {found.routing[block]:.1%} of the tokens with a clear lead in blocks.{block}, the least")
    for each in found.warnings:
        say(f"warning: {each}", "yellow")
    if not found.warnings:
        say("quantised: nothing is in doubt", "green")
    return found
