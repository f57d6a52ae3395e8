# SPDX-License-Identifier: Apache-2.0
from collections import deque

import numpy as np
import pytest

from moevit.hw.layouts import COLUMN_SLOTS
from moevit.hw.writer.columns import ColumnStore
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS


def tiles_of(random, config, count):
    """(count, n_lanes) u32, and their beats."""
    tiles = random.integers(0, 1 << 32, (count, config.n_lanes)).astype("<u4")
    beats = tiles.view(np.uint8).reshape(-1, config.n_lanes)
    return tiles, deque(int.from_bytes(beat.tobytes(), "little") for beat in beats)


@pytest.mark.parametrize("name", ["8x8", "8x16", "64x64"])
def test_order_and_slots(name):
    """Beats come and n-tiles leave with pauses; all slots are full at some time."""
    config, seed = CONFIGS[name], 2
    assert ColumnStore.latency == 1  # from ``part`` in one step to ``o`` in the next
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    tiles, beats = tiles_of(random, config, 25)
    unit, most = ColumnStore(config), 0
    released, accepted, asked = 0, 0, None

    def step(ctx, cycle):
        nonlocal most, released, accepted, asked
        if asked is not None:
            assert [(lane["scale"], lane["bias"] & 0xFFFF) for lane in ctx.get(unit.o)] == asked
        # Long pauses of the reader first, of the beats later.
        offer = bool(beats) and random.random() < (0.9 if released < 12 else 0.3)
        ctx.set(unit.beats.valid, offer)
        if offer:
            ctx.set(unit.beats.payload, beats[0])
        release = bool(ctx.get(unit.full)) and random.random() < (0.1 if released < 12 else 0.9)
        part = int(random.integers(config.ratio))
        ctx.set(unit.part, part)
        ctx.set(unit.release, release)
        most = max(most, accepted // 4 - released)
        assert ctx.get(unit.full) == (accepted // 4 > released)
        if offer and ctx.get(unit.beats.ready):
            beats.popleft()
            accepted += 1
        asked = None
        if release:
            lanes = tiles[released, part * config.k_lanes:][:config.k_lanes]
            asked = [(int(lane) & 0xFFFF, int(lane) >> 16) for lane in lanes]
            released += 1
        return released == len(tiles) and not release

    StreamBench(unit).play(step, 5000)
    assert released == len(tiles)
    assert most == COLUMN_SLOTS
