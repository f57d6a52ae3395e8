# SPDX-License-Identifier: Apache-2.0
"""Heads and metrics of the host, against small cases done by hand."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.host.heads import HeadError, confusion_matrix, mean_iou, read_heads, rmse
from moevit.spec.networks import NETWORKS

NETWORK = replace(NETWORKS["tiny_test"], dim=2, heads=1, norm_eps=0.0)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    return {"heads.depth.norm.weight": np.array([1.0, 2.0]), "heads.depth.norm.bias": np.array([0.0, 1.0]),
            "heads.depth.fc.weight": np.array([[10.0, 1.0]]), "heads.depth.fc.bias": np.array([0.5]),
            "pos_embed": np.zeros(3)}


def test_head_by_hand(tensors):
    heads = read_heads(NETWORK, tensors)
    assert list(heads) == ["depth"]
    tokens = np.zeros((NETWORK.tokens, 2), np.float32)
    tokens[:] = [3.0, 7.0]  # normed: -1, 1; with gain and bias: -1, 3
    tokens[0] = [7.0, 3.0]  # CLS, left out
    tokens[2] = [5.0, 1.0]  # normed: 1, -1; with gain and bias: 1, -1
    expected = np.full((NETWORK.patches, 1), -10 + 3 + 0.5)
    expected[1] = 10 - 1 + 0.5
    np.testing.assert_allclose(heads["depth"](tokens), expected)
    np.testing.assert_allclose(heads["depth"](np.stack([tokens, tokens]))[1], expected)


def test_wrong_tokens(tensors):
    with pytest.raises(HeadError, match=r"takes tokens \(\.\.\., 9, 2\), not \(8, 2\)"):
        read_heads(NETWORK, tensors)["depth"](np.zeros((8, 2), np.float32))


def test_wrong_weights(tensors):
    missing = {name: value for name, value in tensors.items() if not name.endswith("fc.bias")}
    with pytest.raises(HeadError, match=r"heads\.depth\.fc\.bias is missing"):
        read_heads(NETWORK, missing)
    with pytest.raises(HeadError, match="last axis must be 2"):
        read_heads(NETWORK, {**tensors, "heads.depth.norm.weight": np.ones(3)})
    with pytest.raises(HeadError, match=r"they must be \(outputs, 2\) and \(outputs,\)"):
        read_heads(NETWORK, {**tensors, "heads.depth.fc.bias": np.ones(2)})


def test_mean_iou_by_hand():
    labels, predictions = np.array([[0, 0, 0], [1, 1, 2]]), np.array([[0, 0, 1], [1, 2, 2]])
    confusion = confusion_matrix(labels, predictions, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert mean_iou(confusion) == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)
    assert mean_iou(np.eye(3, dtype=np.int64)) == 1.0


def test_rmse_by_hand():
    assert rmse(np.array([0.0, 1.0]), np.array([3.0, 5.0])) == pytest.approx(np.sqrt(12.5))


def test_metrics_refuse_nonsense():
    with pytest.raises(HeadError, match="differ in shape"):
        confusion_matrix(np.zeros(3, int), np.zeros(4, int), 2)
    with pytest.raises(HeadError, match=r"a prediction lies in 0\.\.2, classes are 0\.\.1"):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(HeadError, match=r"a label lies in -1\.\.0"):
        confusion_matrix(np.array([0, -1]), np.array([0, 0]), 2)
    with pytest.raises(HeadError, match="empty"):
        mean_iou(np.zeros((2, 2), np.int64))
    with pytest.raises(HeadError, match="differ in shape"):
        rmse(np.zeros(3), np.zeros(4))
