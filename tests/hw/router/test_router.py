# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from .router_bench import HIGH, LOW, Pass, at_once, biases_of, biases_set, config_of, logits_of, run


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("experts", [1, 5, 8, 16, 32])
def test_every_top_k(experts, renormalise):
    random = np.random.default_rng(experts)
    config = config_of(experts)
    run(config, [Pass(logits_of(random, 12, experts, 19), top_k, renormalise)
                 for top_k in {1, 2, 4, experts - 1, experts} if 1 <= top_k <= experts])


@pytest.mark.parametrize("renormalise", [False, True])
def test_fewer_experts_than_the_router_has(renormalise):
    random = np.random.default_rng(1)
    run(config_of(8), [Pass(logits_of(random, 10, experts), min(experts, 2), renormalise) for experts in (1, 2, 3, 7)])


@pytest.mark.parametrize("renormalise", [False, True])
def test_ties_and_masks(renormalise):
    random = np.random.default_rng(2)
    ties = random.integers(-2, 3, (32, 8)) << 12
    masked = logits_of(random, 20, 8)
    masked[:, [0, 3, 4]] = LOW
    all_masked = np.full((3, 8), LOW)
    extremes = random.choice([LOW, HIGH, LOW + 1, HIGH - 1, 0], (32, 8))
    run(config_of(8), [Pass(logits, top_k, renormalise) for logits in (ties, masked, all_masked, extremes)
                       for top_k in (2, 6)])


def test_masked_lanes_beyond_the_experts_lose_ties():
    """Lanes without an expert have random logits."""
    run(config_of(8), [Pass(np.full((4, 5), LOW), 5), Pass(np.full((4, 5), LOW), 2, True)])


def test_all_tokens_to_one_expert():
    logits = np.zeros((32, 8), np.int64)
    logits[:, 6] = 100_000
    run(config_of(8), [Pass(logits, 1), Pass(logits, 2, True)])


def test_one_token():
    random = np.random.default_rng(3)
    run(config_of(8), [Pass(logits_of(random, 1, 8), top_k) for top_k in (1, 2, 8)])


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("sigmoid, biased", [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("experts", [1, 5, 8, 16, 32])
def test_sigmoid_and_bias(experts, sigmoid, biased, renormalise):
    """Logits around 0, where sigmoids differ; logits far apart; biases larger than all differences."""
    random = np.random.default_rng(experts)
    logits = [random.integers(-(1 << spread), 1 << spread, (8, experts)) for spread in (17, 19, 23)]
    run(config_of(experts), [
        Pass(each, top_k, renormalise, sigmoid, biases_of(random, experts, spread) if biased else None)
        for each, spread in zip(logits, (12, 14, 15), strict=True) for top_k in {1, min(2, experts), experts}])


@pytest.mark.parametrize("sigmoid", [False, True])
def test_a_bias_lifts_no_masked_expert(sigmoid):
    random = np.random.default_rng(7)
    masked = logits_of(random, 20, 6)
    masked[:, [0, 3]] = LOW
    biases = [np.array([32767, -32768, 0, 32767, -32768, 5]), np.full(6, 32767), np.full(6, -32768)]
    run(config_of(8), [Pass(masked, top_k, renormalise, sigmoid, bias) for bias in biases
                       for top_k, renormalise in ((4, False), (4, True), (6, True))])


def test_biases_stay_until_they_are_set_anew():
    random = np.random.default_rng(8)
    bias = biases_of(random, 8)
    jobs = [Pass(logits_of(random, 3, 8), 2, sigmoid=sigmoid, bias=used)
            for used in (bias, None, bias) for sigmoid in (True, False)]
    lengths, _, _ = at_once(config_of(8), [biases_set(bias), *jobs])
    assert lengths[1:] == [job.lengths for job in jobs]


@pytest.mark.parametrize("experts", [8, 32])
def test_cycles_of_the_ring(experts):
    """A token is taken every `latency_ring` + 1 cycles; its first entry comes `latency_ring` cycles later."""
    random = np.random.default_rng(4)
    seen = run(config_of(experts), [Pass(logits_of(random, 4, experts), 2, sigmoid=True)])
    ring = seen.unit.latency_ring
    assert ring == experts + 8
    assert seen.taken == [seen.taken[0] + (ring + 1) * token for token in range(4)]
    assert seen.stored[0] - seen.taken[0] == seen.unit.latency + ring


@pytest.mark.parametrize("seed", range(4))
def test_random(seed):
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    passes = []
    for _ in range(4):
        experts, tokens = random.integers(1, 9), random.integers(1, 33)
        passes.append(Pass(logits_of(random, tokens, experts, random.integers(8, 23)),
                           int(random.integers(1, experts + 1)), bool(random.integers(0, 2)),
                           bool(random.integers(0, 2)), biases_of(random, experts) if random.random() < 0.5 else None))
    run(config_of(8), passes, [0.0, 0.2, 0.5, 0.9][seed], seed)


@pytest.mark.parametrize("experts", [8, 32])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_rate_and_latency(experts, top_k):
    """One entry per cycle from the first to the last."""
    random = np.random.default_rng(4)
    seen = run(config_of(experts), [Pass(logits_of(random, 32, experts), top_k)])
    assert seen.taken == [seen.taken[0] + top_k * token for token in range(32)]
    assert seen.stored[0] - seen.taken[0] == seen.unit.latency
    assert seen.stored == list(range(seen.stored[0], seen.stored[0] + 32 * top_k))


def test_next_pass_right_behind():
    """The first token of a pass waits while the pass before it is routed: both are complete, in order."""
    random = np.random.default_rng(5)
    config = config_of(8)
    passes = [Pass(logits_of(random, 6, 8), 2), biases_set(biases_of(random, 8)), Pass(logits_of(random, 4, 8), 4)]
    lengths, taken, dones = at_once(config, passes)
    assert lengths[::2] == [job.lengths for job in passes[::2]]
    assert taken[6] == dones[0] + config.max_experts + 1
    assert taken[7] == dones[1] + 1
