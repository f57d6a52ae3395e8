# SPDX-License-Identifier: Apache-2.0
"""The row memories against arrays, with everybody writing at once."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from moevit.hw.plumbing.memories import Memories
from moevit.spec.arrays import CONFIGS

READS = {"residual_writer": "residual", "hidden_reader": "hidden", "kv_reader": "kv"}


@pytest.mark.parametrize("name, words", [("8x8", 1), ("8x16", 2), ("8x16", 3), ("16x16", 1), ("16x16", 2),
                                         ("16x16", 3), ("64x64", 2)])
def test_reads_writes_and_priorities(name, words):
    """At the first addresses, the last, and where the last whole blocks end; residual words in banks for ``words``,
    parts of hidden words at addresses of their own."""
    seed = 5
    print(f"seed {seed}")
    config, random = replace(CONFIGS[name], norm_words=words), np.random.default_rng(seed)
    lanes, wide, groups = config.k_lanes, config.n_lanes, config.k_lanes // 8
    unit, in_banks = Memories(config), config.residual_banks
    depths = {"residual": config.residual_words, "hidden": config.hidden_words, "kv": config.kv_words}
    stored = {memory: np.zeros((depth, wide if memory == "kv" else lanes), int) for memory, depth in depths.items()}
    used = {memory: [*range(5), *range(depth // 1024 * 1024 - 3, depth // 1024 * 1024 + 3), *range(depth - 5, depth)]
            for memory, depth in depths.items()}
    used = {memory: sorted({at % depths[memory] for at in places}) for memory, places in used.items()}
    waited = {"residual": 0, "hidden": 0}
    reads = {port: (getattr(unit, port), memory, 1, 0) for port, memory in READS.items()}
    reads |= {bank: (port, "residual", in_banks, bank) for bank, port in enumerate(unit.residual_reader)}

    async def bench(ctx):
        expected = {port: stored[memory][0].copy() for port, (_, memory, _, _) in reads.items()}
        for _ in range(700):
            for port, (read, memory, banks, bank) in reads.items():
                asked = int(random.integers(0, 2))
                assert list(ctx.get(read.data)) == list(expected[port]), port
                address = int(random.choice(used[memory])) // banks
                ctx.set(read.enable, asked)
                ctx.set(read.address, address)
                if asked:
                    expected[port] = stored[memory][banks * address + bank].copy()

            def offer(port, share=0.4, bank=None):
                """Put a random write on a port. Returns address and data, or None."""
                target = getattr(unit, port) if bank is None else getattr(unit, port)[bank]
                target = getattr(target, "payload", target)
                parts = config.hidden_parts if port == "hidden_load" else 1
                memory, half = port.split("_")[0], 1 << (7 if port == "kv_store" else 15)
                at = [int(random.choice(used[memory])) for _ in range(parts)]
                at = at if port == "hidden_load" else at[0]
                word = random.integers(-half, half, stored[memory].shape[1])
                ctx.set(target.address, at if bank is None else at // in_banks)
                ctx.set(target.data, [int(value) for value in word])
                at = at if bank is None else at // in_banks * in_banks + bank
                return (at, word) if random.random() < share else None

            writes = {port: offer(port) for port in ("residual_store", "residual_load", "hidden_store", "hidden_load",
                                                     "kv_store")}
            copies = [offer("residual_copy", 0 if writes["residual_store"] else 0.2, bank) for bank in range(in_banks)]
            writes["residual_copy"] = [copy for copy in copies if copy]
            enable = int(random.integers(1, 1 << groups))
            granules = int(random.integers(1, 1 << config.ratio))
            ctx.set(unit.residual_store.enable, writes["residual_store"] is not None)
            for port, copy in zip(unit.residual_copy, copies, strict=True):
                ctx.set(port.enable, copy is not None)
            ctx.set(unit.residual_load.valid, writes["residual_load"] is not None)
            ctx.set(unit.hidden_store.enable, writes["hidden_store"] is not None)
            ctx.set(unit.hidden_load.valid, writes["hidden_load"] is not None)
            ctx.set(unit.hidden_load.payload.enable, enable)
            ctx.set(unit.kv_store.enable, granules if writes["kv_store"] else 0)

            alone = writes["residual_store"] or writes["residual_load"]
            for at, word in writes["residual_copy"] or ([alone] if alone else []):
                stored["residual"][at] = word
            for memory in waited:
                busy = any(writes.get(f"{memory}_{kind}") for kind in ("store", "copy"))
                assert ctx.get(getattr(unit, f"{memory}_load").ready) == (not busy)
                waited[memory] += busy and writes[f"{memory}_load"] is not None
            if writes["hidden_store"] or writes["hidden_load"]:
                at, word = writes["hidden_store"] or writes["hidden_load"]
                at = np.repeat(at, lanes // np.size(at))
                mask = np.repeat([writes["hidden_store"] is not None or enable >> group & 1
                                  for group in range(groups)], 8).astype(bool)
                stored["hidden"][at[mask], np.flatnonzero(mask)] = word[mask]
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
