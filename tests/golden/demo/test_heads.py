# SPDX-License-Identifier: Apache-2.0
"""The demo's heads and metrics in torch agree with the host's numpy ones."""

import numpy as np
import pytest
import torch

from moevit.golden.demo.evaluate import confusion_matrix, mean_iou
from moevit.golden.demo.heads import OUTPUTS, Heads, loss
from moevit.golden.reference import CheckpointError
from moevit.host import heads as host
from moevit.spec.networks import NETWORKS

DEMO = NETWORKS["demo"]


@pytest.fixture
def heads() -> Heads:
    torch.manual_seed(11)
    heads = Heads(DEMO)
    with torch.no_grad():
        for value in heads.parameters():
            value.normal_()
    return heads


@pytest.mark.parametrize("task", DEMO.tasks)
def test_host_heads_agree(heads, task):
    tokens = 4 * torch.randn(3, DEMO.tokens, DEMO.dim) + 1
    arrays = {name: value.numpy() for name, value in heads.tensors().items()}
    expected = heads(tokens, task).detach().numpy()
    assert expected.shape == (3, DEMO.patches, OUTPUTS[task])
    np.testing.assert_allclose(host.read_heads(DEMO, arrays)[task](tokens.numpy()), expected, rtol=1e-4, atol=1e-4)


def test_prefix_tokens_do_not_matter(heads):
    tokens = torch.randn(1, DEMO.tokens, DEMO.dim)
    changed = tokens.clone()
    changed[:, 0] += 100
    torch.testing.assert_close(heads(tokens, "depth"), heads(changed, "depth"))


def test_tensors_round_trip(heads):
    other = Heads(DEMO)
    other.load_tensors({"pos_embed": torch.zeros(1), **heads.tensors()})
    assert all(torch.equal(a, b) for a, b in zip(heads.parameters(), other.parameters(), strict=True))


def test_loss():
    outputs = torch.tensor([[[0.0, 2.0], [1.0, 1.0]]])
    expected = (np.log(1 + np.exp(-2.0)) + np.log(2)) / 2
    assert loss(outputs, torch.tensor([[1, 0]]), "semseg").item() == pytest.approx(expected)
    assert loss(torch.tensor([[[0.5], [1.0]]]), torch.tensor([[0.0, 0.0]]), "depth").item() == pytest.approx(0.625)


def test_metrics_by_hand():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    predictions = torch.tensor([0, 0, 1, 1, 2, 2])
    confusion = confusion_matrix(labels, predictions, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    mean, each = mean_iou(confusion)
    assert each[:3] == pytest.approx([2 / 3, 1 / 3, 1 / 2]) and np.isnan(each[3])
    assert mean == pytest.approx(0.5)


def test_host_metrics_agree():
    rng = np.random.default_rng(12)
    labels, predictions = rng.integers(0, 11, (2, 5, 128))
    confusion = confusion_matrix(torch.from_numpy(labels), torch.from_numpy(predictions), 11)
    np.testing.assert_array_equal(host.confusion_matrix(labels, predictions, 11), confusion.numpy())
    assert host.mean_iou(confusion.numpy()) == pytest.approx(mean_iou(confusion)[0])


@pytest.mark.parametrize("change, message", [
    ({"heads.depth.fc.bias": None}, r"heads.depth.fc.bias is missing, it must be \(1,\)"),
    ({"heads.depth.fc.bias": torch.zeros(2)}, r"heads.depth.fc.bias is \(2,\), it must be \(1,\)"),
    ({"heads.colour.fc.bias": torch.zeros(2)}, "heads.colour.fc.bias belongs to no head"),
])
def test_wrong_tensors_are_refused(heads, change, message):
    before = {name: value.clone() for name, value in heads.tensors().items()}
    tensors = {name: value + 1 for name, value in heads.tensors().items()} | change
    with pytest.raises(CheckpointError, match=message):
        heads.load_tensors({name: value for name, value in tensors.items() if value is not None})
    assert all(torch.equal(value, before[name]) for name, value in heads.tensors().items())
