# SPDX-License-Identifier: Apache-2.0
"""The recipe for training the demo network."""

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All values that decide the outcome of a training.

    ``turns`` repeats over the steps. ``scenes`` is the number of train scenes that batches are drawn from. With one
    thread, the same seed gives the same weights, and other programs on the computer slow it down least.
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
