# SPDX-License-Identifier: Apache-2.0
"""The row memories against arrays, with everybody writing at once."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.memories import Memories
from moevit.spec.arrays import CONFIGS

READS = {"residual_reader": "residual", "residual_writer": "residual", "hidden_reader": "hidden", "kv_reader": "kv"}


@pytest.mark.parametrize("name", ["8x8", "8x16", "16x16"])
def test_reads_writes_and_priorities(name):
    """At the first addresses, the last, and where the last whole block ends."""
    seed = 5
    print(f"seed {seed}")
    config, random = CONFIGS[name], np.random.default_rng(seed)
    lanes, wide, groups = config.k_lanes, config.n_lanes, config.k_lanes // 8
    unit = Memories(config)
    depths = {"residual": config.residual_words, "hidden": config.hidden_words, "kv": config.kv_words}
    stored = {memory: np.zeros((depth, wide if memory == "kv" else lanes), int) for memory, depth in depths.items()}
    used = {memory: [*range(5), *range(depth // 1024 * 1024 - 3, depth // 1024 * 1024 + 3), *range(depth - 5, depth)]
            for memory, depth in depths.items()}
    used = {memory: sorted({at % depths[memory] for at in places}) for memory, places in used.items()}
    waited = {"residual": 0, "hidden": 0}

    async def bench(ctx):
        expected = {port: stored[memory][0].copy() for port, memory in READS.items()}
        for _ in range(700):
            for port, memory in READS.items():
                read, asked = getattr(unit, port), int(random.integers(0, 2))
                assert list(ctx.get(read.data)) == list(expected[port]), port
                address = int(random.choice(used[memory]))
                ctx.set(read.enable, asked)
                ctx.set(read.address, address)
                if asked:
                    expected[port] = stored[memory][address].copy()

            def offer(port, share=0.4):
                """Put a random write on a port. Returns address and data, or None."""
                target = getattr(unit, port)
                target = getattr(target, "payload", target)
                memory, half = port.split("_")[0], 1 << (7 if port == "kv_store" else 15)
                at = int(random.choice(used[memory]))
                word = random.integers(-half, half, stored[memory].shape[1])
                ctx.set(target.address, at)
                ctx.set(target.data, [int(value) for value in word])
                return (at, word) if random.random() < share else None

            writes = {port: offer(port) for port in ("residual_store", "residual_load", "hidden_store", "hidden_load",
                                                     "kv_store")}
            writes["residual_copy"] = offer("residual_copy", 0 if writes["residual_store"] else 0.3)
            enable = int(random.integers(1, 1 << groups))
            granules = int(random.integers(1, 1 << config.ratio))
            ctx.set(unit.residual_store.enable, writes["residual_store"] is not None)
            ctx.set(unit.residual_copy.enable, writes["residual_copy"] is not None)
            ctx.set(unit.residual_load.valid, writes["residual_load"] is not None)
            ctx.set(unit.hidden_store.enable, writes["hidden_store"] is not None)
            ctx.set(unit.hidden_load.valid, writes["hidden_load"] is not None)
            ctx.set(unit.hidden_load.payload.enable, enable)
            ctx.set(unit.kv_store.enable, granules if writes["kv_store"] else 0)

            first = next((writes[port] for port in ("residual_store", "residual_copy", "residual_load")
                          if writes[port]), None)
            if first:
                stored["residual"][first[0]] = first[1]
            for memory in waited:
                busy = any(writes.get(f"{memory}_{kind}") for kind in ("store", "copy"))
                assert ctx.get(getattr(unit, f"{memory}_load").ready) == (not busy)
                waited[memory] += busy and writes[f"{memory}_load"] is not None
            if writes["hidden_store"] or writes["hidden_load"]:
                at, word = writes["hidden_store"] or writes["hidden_load"]
                mask = np.repeat([writes["hidden_store"] is not None or enable >> group & 1
                                  for group in range(groups)], 8).astype(bool)
                stored["hidden"][at][mask] = word[mask]
            if writes["kv_store"]:
                at, word = writes["kv_store"]
                mask = np.repeat([granules >> part & 1 for part in range(config.ratio)], lanes).astype(bool)
                stored["kv"][at][mask] = word[mask]
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert min(waited.values()) > 20
