# SPDX-License-Identifier: Apache-2.0
"""Slightly smaller logits correct the loss of small probabilities in eight bits."""

import numpy as np

from moevit.golden.quant.temper import FACTORS, temper


def drawn(peak: float) -> tuple[np.ndarray, np.ndarray]:
    """One head of 200 tokens. Each token's logit for itself leads by ``peak`` (log2). Logits s16, values of 16
    channels."""
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(1, 200, 200)) + peak * np.eye(200)
    return np.rint(logits * 256).astype(np.int64), rng.normal(size=(1, 200, 16))


def error(factor: float, logits: np.ndarray, values: np.ndarray) -> float:
    below = (logits - logits.max(axis=-1, keepdims=True)) / 256
    exact, rounded = 2.0**below, np.rint(255 * 2.0 ** (factor * below))
    return float(np.square(rounded @ values / rounded.sum(-1, keepdims=True)
                           - exact @ values / exact.sum(-1, keepdims=True)).sum())


def test_a_head_that_sees_all_tokens_alike_keeps_its_logits():
    assert temper([drawn(0.0)]).tolist() == [1.0]


def test_a_head_with_one_strong_token_and_many_weak_ones_is_lifted():
    logits, values = drawn(9.0)
    found = temper([(logits, values)]).item()
    assert found in FACTORS and found < 1
    assert error(found, logits, values) < 0.75 * error(1.0, logits, values)


def test_heads_and_images_are_told_apart():
    flat, strong = drawn(0.0), drawn(9.0)
    both = tuple(np.concatenate(parts) for parts in zip(flat, strong, strict=True))
    found = temper([both, both])
    assert found[0] == 1.0 and found[1] == temper([strong]).item()
