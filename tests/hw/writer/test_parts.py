# SPDX-License-Identifier: Apache-2.0
"""Addresses, epilogue, gate logits and write loop alone: each takes as many cycles as it states."""

import numpy as np
import pytest

from moevit.hw.layouts import instruction_layout
from moevit.hw.writer.address import AddressGenerator
from moevit.hw.writer.epilogue import Epilogue
from moevit.hw.writer.gate_logits import GateLogits
from moevit.hw.writer.write_loop import WriteLoop
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import Probe
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import BIAS_MASKED
from moevit.spec.isa import Destination, Opcode, Saturation


def instruction(**fields):
    """All fields of an instruction, 0 unless given."""
    return {name: 0 for name in instruction_layout().fields} | fields


@pytest.mark.parametrize("name", ["8x8", "8x16"])
def test_addresses(name):
    config, random, count = CONFIGS[name], np.random.default_rng(1), 200
    unit, ratio = AddressGenerator(config), config.ratio
    kinds = [Destination.RESIDUAL, Destination.HIDDEN, Destination.KEYS, Destination.VALUES]
    destinations = random.choice(kinds, count)
    base, stride, row, word = (random.integers(0, bound, count) for bound in (1000, 60, 200, 50))
    found = StreamBench(unit).words({
        "instruction": [instruction(destination=int(which), destination_base=int(start), destination_stride=int(step))
                        for which, start, step in zip(destinations, base, stride, strict=True)],
        "row": row, "word": word}, ["address", "part"], unit.latency)
    keys, values = destinations == Destination.KEYS, destinations == Destination.VALUES
    address = np.where(keys, base + word * stride + row // ratio,
                       np.where(values, base + word // ratio * stride + row, base + row * stride + word))
    assert found["address"] == address.tolist()
    assert found["part"] == np.where(keys, row % ratio, np.where(values, word % ratio, 0)).tolist()


def test_epilogue():
    """Residual + value without activation and score, saturated twice."""
    config, random, count = CONFIGS["8x8"], np.random.default_rng(2), 100
    unit, later = Epilogue(config), Epilogue.residual_stage
    values, residual = random.integers(-1 << 17, 1 << 17, (count, 8)), random.integers(-1 << 15, 1 << 15, (count, 8))
    add, lanes = random.integers(0, 2, count), random.integers(0, 9, count)
    found = StreamBench(unit, settings={"score": 65536, "saturation": Saturation.ROW}).words({
        "i": [*values, *values[:later]], "residual_add": [*add, *add[:later]], "lanes": [*lanes, *lanes[:later]],
        "residual": [*residual[:later], *residual]}, ["o", "clipped"], unit.latency)
    narrow = np.clip(values, -1 << 15, (1 << 15) - 1)
    total, valid = narrow + residual * add[:, None], np.arange(8) < lanes[:, None]
    stored = np.clip(total, -1 << 15, (1 << 15) - 1)
    clipped = valid & ((narrow != values) | (stored != total))
    assert np.array_equal(found["o"][:count], np.where(valid, stored, 0))
    assert found["clipped"][:count] == (clipped @ (1 << np.arange(8))).tolist()


def test_gate_logits():
    """A token leaves `latency` cycles after it came; no more tokens are reserved than the FIFO holds."""
    unit = GateLogits(CONFIGS["8x8"])
    token = {name: 0 for name in unit.token.shape().members} | {"experts": 8, "sequence": 3}
    logits = Probe(unit.logits.payload, unit.sequence, when=unit.logits.valid & unit.logits.ready)
    room = Probe(unit.room)

    def step(ctx, cycle):
        ctx.set(unit.reserve, ctx.get(unit.room))
        ctx.set(unit.values, [1 << 24 - 1, -1 << 24, 5, *[0] * 5])
        ctx.set(unit.bias, [0, 0, BIAS_MASKED, *[0] * 5])
        ctx.set(unit.token, token)
        ctx.set(unit.valid, cycle == 3)
        ctx.set(unit.logits.ready, 1)

    StreamBench(unit, background=[logits.run, room.run]).play(step, 20 + unit.latency)
    assert logits.cycles == [3 + unit.latency]
    assert logits.values[0][0]["logits"] == [(1 << 23) - 1, -1 << 23, -1 << 23, *[0] * 5]
    assert logits.values[0][1] == 3
    assert sum(room.values) == 17  # 16 places, and one that became free


@pytest.mark.parametrize("name", ["8x8", "8x16"])
def test_write_loop(name):
    """One slot per cycle, the first one a cycle after its dispatch, also behind another pass."""
    config = CONFIGS[name]
    unit = WriteLoop(config)
    slots = Probe(unit.slot, unit.row_end, unit.tile_end, unit.first_slot, when=unit.active)
    passes = [{"opcode": Opcode.PASS, "rows": rows, "n_tiles": 2, "columns": config.n_lanes + 3} for rows in (3, 1)]
    others = [{"opcode": Opcode.NORM, "rows": 4}]
    dispatches = [{"instruction": instruction(**fields), "sequence": index, "expert": 0}
                  for index, fields in enumerate([*others, *passes])]
    bench = StreamBench(unit, settings={"take": 1}, background=[slots.run])
    bench.run({"dispatch": dispatches}, {})
    first, ratio = bench.cycles["dispatch"][1] + unit.latency, config.ratio
    words = [(word, rows, row, min(config.n_lanes + 3 - config.k_lanes * word, config.k_lanes))
             for rows in (3, 1) for words in (range(ratio), [ratio]) for row in range(rows) for word in words]
    assert slots.cycles == list(range(first, first + len(words)))
    assert [(slot["word"], slot["lanes"], slot["first"], slot["last"]) for slot, *_ in slots.values] == [
        (word, lanes, int(row == 0), int(row == rows - 1)) for word, rows, row, lanes in words]
    assert sum(row_end for _, row_end, _, _ in slots.values) == 2 * (3 + 1)
    assert sum(tile_end for _, _, tile_end, _ in slots.values) == 4
    assert [index for index, (*_, first_slot) in enumerate(slots.values) if first_slot] == [0, 3 * (ratio + 1)]
