# SPDX-License-Identifier: Apache-2.0
"""How many tokens an expert gets: the loads for predictions and synthetic networks.

The source is M3ViT-tiny with its published gates and image: block 1, both tasks, measured. For the later blocks the
gates are published but not their inputs. With experts fitted to the published output, 13 to 16 of 16 experts are active
there, and the largest load is 48.
"""

from collections.abc import Sequence
from itertools import count
from math import gcd

from moevit.spec.networks import Network

__all__ = ["MEASURED", "expert_loads", "share_out"]

#: Tokens per expert in block 1 of m3vit_tiny (129 tokens, top 2), by task.
MEASURED = (
    (0, 6, 0, 32, 0, 27, 15, 24, 22, 19, 0, 22, 11, 33, 32, 15),
    (0, 17, 0, 41, 1, 22, 16, 25, 2, 19, 0, 23, 16, 1, 51, 24),
)
_STRIDE = 5  # spreads heavy experts over the numbers; the next one that has no factor in common with their count


def expert_loads(network: Network, task: int = 0) -> dict[int, tuple[int, ...]]:
    """Tokens of each expert, by MoE block. The sum of a block is tokens x top_k.

    Block 1 has the measured loads, scaled. In later blocks 13 to 16 sixteenths of the experts are active, and their
    loads fall quadratically: of 258 in all, from about 48 to one or two.
    """
    loads = {}
    stride = next(each for each in count(_STRIDE) if gcd(each, network.experts) == 1) if network.experts else 0
    for block in range(network.depth):
        if network.is_moe(block):
            measured: Sequence[int] = MEASURED[task % len(MEASURED)]
            if block == 1 and network.experts == len(measured) and network.top_k <= len(measured) - measured.count(0):
                shares = measured
            else:
                active = max(network.top_k, network.experts * (13 + (block // 2 + task) % 4) // 16)
                falling = [active // 2 + place**2 for place in range(active, 0, -1)] + [0] * (network.experts - active)
                shares = [falling[(stride * expert + block) % network.experts] for expert in range(network.experts)]
            loads[block] = share_out(shares, network.tokens * network.top_k, network.tokens)
    return loads


def share_out(shares: Sequence[int], total: int, most: int) -> tuple[int, ...]:
    """Integers in proportion to ``shares`` whose sum is ``total``, none above ``most``. A share of 0 stays 0."""
    loads = [min(most, share * total // sum(shares)) for share in shares]
    while sum(loads) < total:
        room = [expert for expert, share in enumerate(shares) if share and loads[expert] < most]
        expert = max(room, key=lambda each: shares[each] * total / sum(shares) - loads[each])
        loads[expert] += 1
    return tuple(loads)
