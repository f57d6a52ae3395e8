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
    with pytest.raises(HeadError, match=r"norm.weight has shape \(3,\), it must be \(2,\)"):
        read_heads(NETWORK, {**tensors, "heads.depth.norm.weight": np.ones(3)})
    with pytest.raises(HeadError, match=r"they must be \(outputs, 2\) and \(outputs,\)"):
        read_heads(NETWORK, {**tensors, "heads.depth.fc.bias": np.ones(2)})


TOKENS = np.array([[7.0, 3.0], [1.0, 5.0], *[[3.0, 7.0]] * 6, [9.0, 1.0]], np.float32)  # CLS, then 8 patches
NORMED = np.sign(TOKENS - TOKENS.mean(-1, keepdims=True))  # of two channels, without epsilon


def one_head(pool, norm="tokens", inputs=2, **said):
    rng = np.random.default_rng(1)
    channels = 2 if norm == "tokens" else inputs
    arrays = {"norm.weight": rng.normal(size=channels), "norm.bias": rng.normal(size=channels),
              "fc.weight": rng.normal(size=(3, inputs)), "fc.bias": rng.normal(size=3)}
    arrays = {f"heads.x.{name}": value.astype(np.float32) for name, value in arrays.items()}
    heads = read_heads(NETWORK, arrays, {"heads": {"x": {"pool": pool, "norm": norm, **said}}})
    return heads["x"], *arrays.values()


@pytest.mark.parametrize("pool, wanted", [
    ("cls", NORMED[0]), ("mean", NORMED[1:].mean(0)), ("cls_mean", np.concatenate([NORMED[0], NORMED[1:].mean(0)])),
    ("prefix", NORMED[0]), ("patches", NORMED[1:])])
def test_pools(pool, wanted):
    head, norm_weight, norm_bias, weight, bias = one_head(pool, inputs=wanted.shape[-1])
    gain, shift = (np.resize(each, wanted.shape[-1]) for each in (norm_weight, norm_bias))
    np.testing.assert_allclose(head(TOKENS), (wanted * gain + shift) @ weight.T + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head(np.stack([TOKENS, -TOKENS]))[0], head(TOKENS), rtol=1e-5, atol=1e-6)  # BLAS


def test_norm_after_the_pooling_or_none():
    head, norm_weight, norm_bias, weight, bias = one_head("mean", "pooled")
    mean = TOKENS[1:].mean(0)
    normed = np.sign(mean - mean.mean()) * norm_weight + norm_bias
    np.testing.assert_allclose(head(TOKENS), normed @ weight.T + bias, rtol=1e-5, atol=1e-6)
    head, _, _, weight, bias = one_head("mean", "none")
    np.testing.assert_allclose(head(TOKENS), mean @ weight.T + bias, rtol=1e-5, atol=1e-6)


def test_features_are_all_tokens_normed():
    arrays = {"heads.features.norm.weight": np.array([1.0, 2.0]), "heads.features.norm.bias": np.array([0.0, 1.0])}
    head = read_heads(NETWORK, arrays, {"heads": {"features": {"pool": "patches", "norm": "tokens"}}})["features"]
    np.testing.assert_allclose(head(TOKENS), NORMED * [1, 2] + [0, 1])
    assert head.weight is None


@pytest.mark.parametrize("said, message", [
    ({"pool": "attention"}, "head x has pool 'attention'"), ({"pool": "cls", "norm": "rms"}, "norm 'rms'"),
    ({"pool": "cls", "task": "flow"}, "task 'flow'.*semseg, depth"), ({"pool": "cls", "classes": ["a"]}, "3 outputs"),
    ({"pool": "cls", "classes": "abc"}, "3 outputs"), ({"pool": "cls_mean"}, "norm.weight|outputs, 4")])
def test_wrong_heads(said, message):
    with pytest.raises(HeadError, match=message):
        one_head(**{"pool": "cls", **said})


def test_without_a_prefix_there_is_no_cls():
    with pytest.raises(HeadError, match="knows patches, mean;"):
        read_heads(replace(NETWORK, prefix_tokens=0), {}, {"heads": {"x": {"pool": "cls"}}})


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
