# SPDX-License-Identifier: Apache-2.0
"""Latency of the array: when dots come, and what comes before them."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.hw.array.array import Array, Column
from moevit.hw.array.lane import DotProduct, PackedDotProduct, packing_of
from moevit.hw.layouts import Accumulate
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

ADDRESS = 5


@pytest.mark.parametrize("lead", [0, 3])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["8x8", "16x16"])
def test_latency(name, packed, lead, unused_allowed):
    """One row enters when its tile is loaded. Its dots are there for one cycle."""
    config = replace(CONFIGS[name], packed=packed)
    unit, lanes = Array(config, lead=lead), config.k_lanes
    column = Column(PackedDotProduct if packed else DotProduct, lanes, packing_of(config))
    assert unit.latency == column.latency + 1
    tile, operands = np.arange(lanes * lanes).reshape(lanes, lanes) % 251 - 125, np.arange(lanes) * 7 - 20
    entered, ahead, dots = lanes, [], {}

    def step(ctx, cycle):
        ctx.set(unit.load.valid, cycle < lanes)
        if cycle < lanes:
            beats = [tile[cycle].tolist()] * config.tile_beats
            ctx.set(unit.load.payload, {"by_row": 1, "whole": 0, "index": cycle, "data": beats})
        ctx.set(unit.row.valid, cycle == entered)
        ctx.set(unit.row.payload, {"swap": 1, "operands": operands.tolist() if cycle == entered else [0] * lanes,
                                   "address": ADDRESS, "operation": Accumulate.ADD, "last": 1})
        if ctx.get(unit.ahead.valid):
            ahead.append((cycle, ctx.get(unit.ahead.payload.address)))
        dots[cycle] = list(ctx.get(unit.dots))

    StreamBench(unit).play(step, entered + unit.latency + 3)
    assert ahead == [(entered + unit.latency - lead, ADDRESS)]
    assert dots[entered + unit.latency] == (operands @ tile).tolist()
    assert dots[entered + unit.latency + 1] == [0] * lanes
