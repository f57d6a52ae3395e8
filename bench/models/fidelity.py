# SPDX-License-Identifier: Apache-2.0
"""The distance of integer tokens from float tokens, and the share of clipped values."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .features import Features

__all__ = ["TokenFidelity", "decibel", "fidelity"]


@dataclass(frozen=True)
class TokenFidelity:
    """``cosines`` (all tokens,) of integer and float tokens after the final norm.

    ``saturation``: the share of clipped values by kind of tensor, over all blocks (``q``, ``k``, ``v``, ``attn_out``,
    ..., as `Frame.trace` names them). ``worst_tensor`` and its share are of one block.
    """

    cosines: np.ndarray
    clipped: Mapping[str, int]
    written: Mapping[str, int]

    @property
    def median(self) -> float:
        return float(np.median(self.cosines))

    @property
    def least(self) -> float:
        return float(self.cosines.min())

    @property
    def saturation(self) -> dict[str, float]:
        clipped, written = (_by_kind(counts) for counts in (self.clipped, self.written))
        return {name: clipped[name] / written[name] for name in written}

    @property
    def worst_tensor(self) -> tuple[str, float]:
        return max(((name, self.clipped[name] / self.written[name]) for name in self.written), key=lambda pair: pair[1])

    def figures(self) -> dict[str, object]:
        """The figures as in ``models.json``."""
        name, share = self.worst_tensor
        return {"cosine_median": self.median, "cosine_least": self.least, "tokens": len(self.cosines),
                "saturated": max(self.saturation.values()), "saturation": self.saturation,
                "worst_tensor": name, "worst_tensor_saturated": share,
                "clipped": sum(self.clipped.values()), "written": sum(self.written.values())}


def fidelity(exact: Features, integer: Features) -> TokenFidelity:
    """Compare the tokens that both kept. Clipped values are counted over all pictures."""
    a, b = (each.tokens.reshape(-1, each.tokens.shape[-1]).astype(np.float64) for each in (exact, integer))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return TokenFidelity(cosines, integer.clipped, integer.written)


def decibel(reference: np.ndarray, value: np.ndarray) -> float:
    """Power of ``reference`` over the power of the difference in dB, in float64."""
    reference, value = reference.astype(np.float64), value.astype(np.float64)
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - value).sum()))


def _by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    """``11.v`` and ``0.v`` are of kind ``v``."""
    sums: dict[str, int] = {}
    for name, count in counts.items():
        kind = name.rpartition(".")[2]
        sums[kind] = sums.get(kind, 0) + count
    return sums
