# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.row_scale import reciprocal
from moevit.hw.reader.tags import Tags
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

SEED = 44
LATENCIES = {8: 8, 16: 9, 32: 9, 64: 10}  # by lanes


@pytest.mark.parametrize("name", ["8x8", "16x16", "32x32", "64x64"])
@pytest.mark.parametrize("rows", [1, 2, 8, 32])
def test_sums_and_other_scales(name, rows):
    """Sweeps of exponentials, over and over, among sweeps of other rows; every tag comes in order."""
    print(f"seed {SEED}")
    random, unit = np.random.default_rng(SEED), Tags(CONFIGS[name])
    schedule, expected, lanes = [], [], CONFIGS[name].k_lanes
    assert unit.latency == LATENCIES[lanes]
    for _ in range(4):
        e = random.integers(0, 256, (3, rows, lanes))
        e[0, :, 0] = 255
        exp = bool(random.integers(2))
        sums = reciprocal(e.sum(axis=(0, 2)))
        for word in range(3):
            for row in range(rows):
                entry = {"row": int(random.integers(4096)), "score": int(random.integers(65537)), "exp": exp,
                         "scale": {"mantissa": int(random.integers(65536)), "exponent": int(random.integers(-9, 9))}}
                schedule.append({"operands": e[word, row].tolist() if exp else [-255] * lanes, "address": row,
                                 "exp": exp, "first": word == 0, "last": word == 2, "entry": entry})
                if word == 2:
                    scale = entry["scale"]
                    if exp:
                        scale = {"mantissa": sums.mantissa[row], "exponent": sums.exponent[row]}
                    expected.append((len(schedule) - 1 + unit.latency, entry["row"], entry["score"],
                                     scale["mantissa"], scale["exponent"]))
            schedule += [None] * (rows == 1)  # words of a row are at least 2 cycles apart
    seen = []

    def step(ctx, cycle):
        row = schedule[cycle] if cycle < len(schedule) else None
        ctx.set(unit.row.valid, row is not None)
        if row:
            ctx.set(unit.row.payload, row)
        if ctx.get(unit.tag.valid):
            tag = ctx.get(unit.tag.payload)
            seen.append((cycle, tag.row, tag.score, tag.scale.mantissa, tag.scale.exponent))

    StreamBench(unit).play(step, len(schedule) + unit.latency + 1)
    assert seen == expected
