# SPDX-License-Identifier: Apache-2.0
"""How the demo network is trained."""

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the outcome.

    ``turns`` is repeated over the steps; ``scenes`` is the number of train scenes that batches are drawn from. One
    thread: the same seed then gives the same weights, and a busy machine does not stall it.
    """

    seed: int = 0
    steps: int = 12_000
    batch: int = 16
    turns: tuple[str, ...] = ("semseg", "semseg", "semseg", "depth")
    scenes: int = 20_000
    learning_rate: float = 3e-3
    warmup: int = 300
    weight_decay: float = 0.05
    balance: float = 0.01
    threads: int = 1
    test_scenes: int = 256
