# SPDX-License-Identifier: Apache-2.0
"""The record of one frame: every stored row by name, and the clipped values."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Frame", "FrameError"]


class FrameError(ValueError):
    """An image or a task that the network does not take.

    Fix: give a u8 image (height, width, 3) of the network's size, and the index of one of its tasks.
    """


@dataclass
class Frame:
    """The rows of one frame as the machine stores them.

    ``tokens`` s16 (tokens, dim). ``trace`` has the names of `golden.reference`:

    * ``x_embed`` (tokens, dim)
    * of block i: ``i.q, i.k, i.v, i.attn_out, i.x_post_attn, i.x_post_mlp`` (tokens, dim), ``i.attn_logits`` (heads,
      tokens, tokens), ``i.gelu`` (tokens, hidden)
    * of a MoE block: ``i.gelu`` (tokens, k, hidden) by rank, ``i.gate_logits`` (tokens, experts) s24, ``i.top_k_index``
      and ``i.top_k_score`` (tokens, k); with a shared FFN ``i.shared_gelu`` (tokens, hidden)

    ``saturated[name]`` counts the clipped values of the passes that wrote ``name``.
    """

    trace: dict[str, np.ndarray] = field(default_factory=dict)
    saturated: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> np.ndarray:
        return self.trace["tokens"]

    def count(self, name: str, saturated: int) -> None:
        """Add ``saturated`` clipped values to those of ``name``."""
        self.saturated[name] = self.saturated.get(name, 0) + saturated
