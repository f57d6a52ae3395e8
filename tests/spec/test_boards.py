# SPDX-License-Identifier: Apache-2.0
"""Boards against arithmetic done by hand; expert loads against their docstrings."""

from dataclasses import replace

import pytest

from moevit.estimator.loads import MEASURED, expert_loads
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.networks import NETWORKS, Network

TINY = NETWORKS["m3vit_tiny"]


def test_bandwidth():
    zcu104, config = BOARDS["zcu104"], CONFIGS["32x64"]
    assert zcu104.bytes_per_cycle == pytest.approx(17.07e9 * 0.85 / 300e6)
    assert zcu104.bandwidth(config) == pytest.approx(zcu104.bytes_per_cycle / config.bus_bytes)
    narrow = CONFIGS["8x8"]  # the memory brings more than its bus moves
    assert zcu104.bandwidth(narrow) == 1.0
    assert zcu104.memory_cycles(narrow, 8000) == 8000 / narrow.bus_bytes


def test_memory_bound():
    """17.96 MB at the full 17.07 GB/s are 1.052 ms."""
    whole = replace(BOARDS["zcu104"], usable=1.0)
    cycles = whole.memory_cycles(CONFIGS["32x64"], 17_960_000)
    assert whole.milliseconds(cycles) == pytest.approx(1.052, abs=5e-4)


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.experts])
@pytest.mark.parametrize("task", [0, 1])
def test_loads_can_be_routed(name, task):
    network = NETWORKS[name]
    loads = expert_loads(network, task)
    assert sorted(loads) == [block for block in range(network.depth) if network.is_moe(block)]
    for each in loads.values():
        assert sum(each) == network.tokens * network.top_k and max(each) <= network.tokens
        assert len(each) == network.experts and min(each) >= 0


@pytest.mark.parametrize("experts, top_k", [(5, 1), (10, 3), (16, 13), (16, 16), (1, 1), (32, 2), (6, 6)])
@pytest.mark.parametrize("moe_blocks", [(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), (10, 11), (0,)])
def test_loads_of_any_experts_in_any_blocks(experts, top_k, moe_blocks):
    """Each of 20 tokens has ``top_k`` different experts, so no load is above 20."""
    network = Network(name="any", height=40, width=32, patch=8, dim=32, heads=2, depth=12, hidden=64, experts=experts,
                      top_k=top_k, expert_hidden=32, moe_blocks=moe_blocks, prefix_tokens=0)
    for task in (0, 1):
        loads = expert_loads(network, task)
        assert tuple(loads) == moe_blocks
        for each in loads.values():
            assert len(each) == experts and sum(each) == 20 * top_k and max(each) <= 20
            assert top_k <= sum(load > 0 for load in each)


def test_loads_are_like_the_real_ones():
    for task in (0, 1):
        loads = expert_loads(TINY, task)
        assert loads[1] == MEASURED[task]
        later = [loads[block] for block in loads if block > 1]
        assert {sum(load > 0 for load in each) for each in later} <= {13, 14, 15, 16}
        assert 40 <= max(map(max, later)) <= 56
