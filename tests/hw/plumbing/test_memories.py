# SPDX-License-Identifier: Apache-2.0
"""The row memories against arrays, while all units write."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.hw.plumbing.memories import Memories
from moevit.hw.plumbing.row_memory import RowMemory
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

SEED = 5
WRITES = "residual_store", "residual_load", "hidden_store", "hidden_load", "kv_store"


class Bench:
    """Random reads and writes on all ports.

    Addresses are the first ones, the last ones, and those where the last whole blocks of a memory end.
    """

    def __init__(self, config):
        print(f"seed {SEED}")
        self.config, self.random, self.unit = config, np.random.default_rng(SEED), Memories(config)
        self.groups, self.banks = config.k_lanes // 8, config.residual_banks
        self.depths = {"residual": config.residual_words, "hidden": config.hidden_words, "kv": config.kv_words}
        self.stored = {memory: np.zeros((depth, config.n_lanes if memory == "kv" else config.k_lanes), int)
                       for memory, depth in self.depths.items()}
        self.addresses = {memory: self.some_addresses(depth) for memory, depth in self.depths.items()}
        self.waited = {"residual": 0, "hidden": 0}
        unit = self.unit
        self.reads = [(unit.residual_writer, "residual", 1, 0), (unit.hidden_reader, "hidden", 1, 0),
                      (unit.kv_reader, "kv", 1, 0)]
        self.reads += [(port, "residual", self.banks, bank) for bank, port in enumerate(unit.residual_reader)]
        self.expected = [self.stored[memory][0].copy() for _, memory, _, _ in self.reads]

    @staticmethod
    def some_addresses(depth):
        blocks = depth // 1024 * 1024
        places = [*range(5), *range(blocks - 3, blocks + 3), *range(depth - 5, depth)]
        return sorted({place % depth for place in places})

    def step(self, ctx, cycle):
        self.read(ctx)
        writes = {port: self.offer(ctx, port) for port in WRITES}
        copies = [self.offer(ctx, "residual_copy", 0 if writes["residual_store"] else 0.2, bank)
                  for bank in range(self.banks)]
        enable = self.enable(ctx, writes, copies)
        self.check_ready(ctx, writes, any(copies))
        self.store(writes, [copy for copy in copies if copy], *enable)

    def read(self, ctx):
        """Checks the words of the last reads, and reads others."""
        for index, (port, memory, banks, bank) in enumerate(self.reads):
            assert list(ctx.get(port.data)) == list(self.expected[index]), f"{memory}, bank {bank} of {banks}"
            enable, address = int(self.random.integers(0, 2)), int(self.random.choice(self.addresses[memory])) // banks
            ctx.set(port.enable, enable)
            ctx.set(port.address, address)
            if enable:
                self.expected[index] = self.stored[memory][banks * address + bank].copy()

    def offer(self, ctx, port, share=0.4, bank=None):
        """Sets address and data of a port; returns them, or None if the port is not to write in this cycle."""
        target = getattr(self.unit, port) if bank is None else getattr(self.unit, port)[bank]
        target = getattr(target, "payload", target)
        memory, half = port.split("_")[0], 1 << (7 if port == "kv_store" else 15)
        address = [int(self.random.choice(self.addresses[memory])) for _ in range(self.config.hidden_parts)]
        address = address if port == "hidden_load" else address[0]
        word = self.random.integers(-half, half, self.stored[memory].shape[1])
        ctx.set(target.address, address if bank is None else address // self.banks)
        ctx.set(target.data, word.tolist())
        if bank is not None:
            address = address // self.banks * self.banks + bank
        return (address, word) if self.random.random() < share else None

    def enable(self, ctx, writes, copies):
        """Sets the enables of all ports; returns those of the parts of a hidden word, and of keys and values."""
        unit, chunks = self.unit, int(self.random.integers(1, 1 << self.groups))
        granules = int(self.random.integers(1, 1 << self.config.ratio))
        ctx.set(unit.residual_store.enable, writes["residual_store"] is not None)
        for port, copy in zip(unit.residual_copy, copies, strict=True):
            ctx.set(port.enable, copy is not None)
        ctx.set(unit.residual_load.valid, writes["residual_load"] is not None)
        ctx.set(unit.hidden_store.enable, writes["hidden_store"] is not None)
        ctx.set(unit.hidden_load.valid, writes["hidden_load"] is not None)
        ctx.set(unit.hidden_load.payload.enable, chunks)
        ctx.set(unit.kv_store.enable, granules if writes["kv_store"] else 0)
        return chunks, granules

    def check_ready(self, ctx, writes, copying):
        """A load waits while another unit writes."""
        busy = {"residual": copying or writes["residual_store"] is not None,
                "hidden": writes["hidden_store"] is not None}
        for memory, is_busy in busy.items():
            assert ctx.get(getattr(self.unit, f"{memory}_load").ready) == (not is_busy)
            self.waited[memory] += is_busy and writes[f"{memory}_load"] is not None

    def store(self, writes, copies, chunks, granules):
        """Writes into the arrays what the memories write."""
        alone = writes["residual_store"] or writes["residual_load"]
        for address, word in copies or ([alone] if alone else []):
            self.stored["residual"][address] = word
        lanes = self.config.k_lanes
        if writes["hidden_store"] or writes["hidden_load"]:
            address, word = writes["hidden_store"] or writes["hidden_load"]
            address = np.repeat(address, lanes // np.size(address))
            written = [writes["hidden_store"] is not None or chunks >> group & 1 for group in range(self.groups)]
            mask = np.repeat(written, 8).astype(bool)
            self.stored["hidden"][address[mask], np.flatnonzero(mask)] = word[mask]
        if writes["kv_store"]:
            address, word = writes["kv_store"]
            mask = np.repeat([granules >> part & 1 for part in range(self.config.ratio)], lanes).astype(bool)
            self.stored["kv"][address][mask] = word[mask]


@pytest.mark.parametrize("name, words", [("8x8", 1), ("8x16", 2), ("8x16", 3), ("16x16", 1), ("16x16", 2),
                                         ("16x16", 3), ("64x64", 2)])
def test_reads_writes_and_priorities(name, words):
    bench = Bench(replace(CONFIGS[name], norm_words=words))
    StreamBench(bench.unit).play(bench.step, 700)
    assert min(bench.waited.values()) > 20


@pytest.mark.parametrize("depth", [512, 520, 700])
def test_latency(depth):
    """A word that was written is read `latency` cycles after its address came, also where the depth is uneven."""
    unit = RowMemory(depth, 16, readers=2)
    assert Memories.latency == unit.latency

    def step(ctx, cycle):
        ctx.set(unit.write.enable, 1)
        ctx.set(unit.write.address, min(cycle, depth - 1))
        ctx.set(unit.write.data, cycle)
        for port, late in ((unit.read_0, 1), (unit.read_1, 3)):
            ctx.set(port.enable, 1)
            ctx.set(port.address, max(cycle - late, 0))
            if late + unit.latency <= cycle < depth:
                assert ctx.get(port.data) == cycle - late - unit.latency

    StreamBench(unit).play(step, depth)
