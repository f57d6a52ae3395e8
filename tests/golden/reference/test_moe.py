# SPDX-License-Identifier: Apache-2.0
"""Gates and experts against plain numpy, token by token."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moevit.golden.reference.moe import ACTIVATIONS, Gate, GateError, Mlp, MoE, top_k
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


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_a_bias_that_only_selects(gate):
    """The bias decides which experts are chosen. The scores are those without it."""
    net = replace(TINY, gate=gate, select_bias=True)
    moe, plain = moe_with(net, 7), Gate(replace(net, select_bias=False))
    plain.load_state_dict({name: value for name, value in moe.gate.state_dict().items() if name != "select_bias"})
    with torch.no_grad():
        moe.gate.select_bias.copy_(torch.tensor([[0.0, 0.0, 0.0, 9.0], [0.0, -9.0, 0.0, 0.0]]))
    x = torch.randn(1, 40, TINY.dim)
    for task, (always, never) in enumerate([(3, None), (None, 1)]):
        routing, without = moe.gate(x, task), plain(x, task)
        assert always is None or (routing.index[..., 0] == always).all()
        assert never is None or not (routing.index == never).any()
        torch.testing.assert_close(routing.score, without.probs.gather(-1, routing.index))
        assert not torch.equal(routing.index, without.index)


def test_a_sigmoid_gate():
    moe = moe_with(replace(TINY, gate="sigmoid"), 8)
    routing = moe.gate(torch.randn(2, 9, TINY.dim), 1)
    best = np.sort(routing.logits.detach().numpy(), axis=-1)[..., ::-1][..., :TINY.top_k]
    np.testing.assert_allclose(routing.score.detach(), 1 / (1 + np.exp(-best)), atol=1e-6)


def test_a_shared_ffn_adds_to_the_experts():
    moe = moe_with(replace(TINY, shared_hidden=24), 9)
    x = torch.randn(2, 5, TINY.dim)
    kept = {}
    y = moe(x, 0, kept.__setitem__)
    shared, moe.shared = moe.shared, None
    torch.testing.assert_close(y - moe(x, 0), F.linear(F.gelu(shared.fc1(x)), shared.fc2.weight, shared.fc2.bias))
    assert tuple(kept["shared_gelu"].shape) == (2, 5, 24)


def test_an_fc2_for_each_task():
    torch.manual_seed(10)
    mlp = Mlp(8, 12, F.gelu, tasks=3)
    with torch.no_grad():
        mlp.fc2.bias.normal_()
    x = torch.randn(2, 5, 8)
    for task in range(3):
        torch.testing.assert_close(mlp(x, task), F.linear(F.gelu(mlp.fc1(x)), mlp.fc2.weight[task], mlp.fc2.bias[task]))


@pytest.mark.parametrize("name, of_one", [("gelu", 0.8413447), ("gelu_tanh", 0.8411920), ("quick_gelu", 0.8457958),
                                          ("relu", 1.0)])
def test_activations(name, of_one):
    """Values at 1, from the formulas: Phi(1); 0.5 (1 + tanh(0.8335620)); 1 / (1 + exp(-1.702))."""
    x = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(ACTIVATIONS[name](x), torch.tensor([of_one, 0.0]), atol=1e-6, rtol=0)
