# SPDX-License-Identifier: Apache-2.0
import numpy as np

from moevit.hw.router.queues import Queues
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS


def test_appended_is_there_in_the_next_cycle():
    """Random appends and pauses; an entry with ``clear`` is the first of its queue, and all others are empty."""
    assert Queues.latency == 1
    config, seed = CONFIGS["8x8"], 6
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    unit = Queues(config)
    lists, wanted = [[] for _ in range(config.max_experts)], None

    def step(ctx, cycle):
        nonlocal lists, wanted
        # What the cycles before this one left.
        assert list(ctx.get(unit.lengths)) == [len(entries) for entries in lists], f"cycle {cycle}"
        if wanted is not None:
            entry = ctx.get(unit.read.data)
            assert (entry["token"], entry["score"]) == wanted, f"cycle {cycle}"
        clear, append = random.random() < 0.03, random.random() < 0.8
        expert, token, score = (int(random.integers(bound)) for bound in (8, 32, 65537))
        if max(map(len, lists)) == config.max_tokens:
            clear = append = True
        ctx.set(unit.append, append)
        ctx.set(unit.clear, clear)
        ctx.set(unit.expert, expert)
        ctx.set(unit.entry, {"token": token, "score": score})
        # The last entry of a queue that has one: it may have been appended in the cycle before.
        some = [index for index, entries in enumerate(lists) if entries]
        wanted = None
        if some:
            asked = int(random.choice(some))
            ctx.set(unit.read.address, asked * config.max_tokens + len(lists[asked]) - 1)
            wanted = lists[asked][-1]
        if append and clear:
            lists = [[] for _ in lists]
        if append:
            lists[expert].append((token, score))

    StreamBench(unit, settings={"read.enable": 1}).play(step, 300)
