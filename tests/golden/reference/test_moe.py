# SPDX-License-Identifier: Apache-2.0
"""Gates and experts against plain numpy, token by token."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from moevit.golden.reference.moe import Gate, GateError, MoE, top_k
from moevit.spec.networks import NETWORKS

erf = np.vectorize(math.erf)
TINY = NETWORKS["tiny_test"]


def network(k: int, renormalise: bool):
    return replace(TINY, top_k=k, renormalise=renormalise)


def moe_with(net, seed: int) -> MoE:
    torch.manual_seed(seed)
    moe = MoE(net)
    with torch.no_grad():
        for value in moe.parameters():
            value.normal_(std=0.3)
    return moe


def numpy_routing(logits: np.ndarray, allowed: np.ndarray, k: int, renormalise: bool) -> list[tuple[int, float]]:
    """(expert, score) of one token, by repeated search for the largest allowed logit."""
    left = [e for e in range(len(logits)) if allowed[e]]
    power = {e: float(np.exp(np.float64(logits[e]))) for e in left}
    chosen: list[int] = []
    for _ in range(k):
        best = left[0]
        for expert in left[1:]:
            if logits[expert] > logits[best]:
                best = expert
        chosen.append(best)
        left.remove(best)
    total = sum(power[e] for e in (chosen if renormalise else power))
    return [(e, power[e] / total) for e in chosen]


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize(("k", "masked"), [(1, False), (1, True), (2, False), (2, True), (TINY.experts, False)])
def test_against_numpy(k, renormalise, masked, task):
    seed = 1000 + 100 * k + 10 * renormalise + task
    print("seed", seed)
    moe = moe_with(network(k, renormalise), seed)
    if masked:
        moe.gate.allow(task, [1, 3])
    x = torch.randn(2, 5, TINY.dim)
    kept = {}
    y = moe(x, task, kept.__setitem__).detach().numpy()
    p = {name: value.detach().double().numpy() for name, value in moe.state_dict().items()}
    allowed = moe.gate.mask[task].numpy()
    for place in np.ndindex(2, 5):
        token = x[place].double().numpy()
        logits = p["gate.weight"][task] @ token + p["gate.bias"][task]
        np.testing.assert_allclose(kept["gate_logits"][place].detach(), logits, atol=1e-5)
        expected = np.zeros(TINY.dim)
        for rank, (expert, score) in enumerate(numpy_routing(logits, allowed, k, renormalise)):
            assert kept["top_k_index"][place][rank] == expert
            assert kept["top_k_score"][place][rank].item() == pytest.approx(score, abs=1e-5)
            assert kept["gate_probs"][place][expert].item() == pytest.approx(score, abs=1e-5)
            hidden = p["experts.fc1.weight"][expert] @ token + p["experts.fc1.bias"][expert]
            gelu = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2)))
            output = p["experts.fc2.weight"][expert] @ gelu + p["experts.fc2.bias"][expert]
            np.testing.assert_allclose(kept["fc1"][place][rank].detach(), hidden, atol=1e-5)
            np.testing.assert_allclose(kept["gelu"][place][rank].detach(), gelu, atol=1e-5)
            np.testing.assert_allclose(kept["fc2"][place][rank].detach(), output, atol=1e-5)
            expected += score * output
        np.testing.assert_allclose(y[place], expected, atol=1e-5)
        assert not kept["gate_probs"][place][torch.from_numpy(~allowed)].any()


@pytest.mark.parametrize("renormalise", [False, True])
def test_sum_of_scores(renormalise):
    gate = Gate(network(2, renormalise))
    score = gate(torch.randn(1, 9, TINY.dim), 0).score.sum(-1)
    if renormalise:
        torch.testing.assert_close(score, torch.ones_like(score))
    else:
        assert (score < 1).all()


def test_ties_go_to_the_lower_index():
    logits = torch.tensor([[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0], [0.0, -0.0, -1.0, 5.0]])
    assert top_k(logits, 2).tolist() == [[1, 2], [0, 1], [3, 0]]
    assert top_k(torch.zeros(1, 64), 64).tolist() == [list(range(64))]


def test_all_tokens_to_one_expert():
    moe = moe_with(network(1, False), 7)
    with torch.no_grad():
        moe.gate.bias[0, 2] = 1e3
    kept = {}
    y = moe(torch.randn(1, 6, TINY.dim), 0, kept.__setitem__)
    assert (kept["top_k_index"] == 2).all()
    torch.testing.assert_close(y, kept["fc2"].squeeze(-2))


def test_tasks_share_experts_but_not_gates():
    moe = moe_with(network(2, False), 8)
    x = torch.randn(1, 20, TINY.dim)
    assert (moe.gate(x, 0).index != moe.gate(x, 1).index).any()
    with torch.no_grad():
        moe.gate.weight[1], moe.gate.bias[1] = moe.gate.weight[0].clone(), moe.gate.bias[0].clone()
    torch.testing.assert_close(moe(x, 0), moe(x, 1))


def test_mask_too_small():
    gate = Gate(network(2, False))
    with pytest.raises(GateError, match="task 1 allows 1 experts, but a token uses 2"):
        gate.allow(1, [3])
    assert gate.mask.all(), "a refused mask changes nothing"
