# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.row_scale import reciprocal
from moevit.hw.reader.tags import Tags
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS

SEED = 44


@pytest.mark.parametrize("rows", [1, 8, 32])
def test_sums_and_other_scales(rows):
    """Sweeps of exponentials, over and over, among sweeps of other rows; every tag comes in order."""
    print(f"seed {SEED}")
    random, unit = np.random.default_rng(SEED), Tags(CONFIGS["8x8"])
    schedule, expected = [], []
    for _ in range(4):
        e = random.integers(0, 256, (3, rows, 8))
        e[0, :, 0] = 255
        exp = bool(random.integers(2))
        sums = reciprocal(e.sum(axis=(0, 2)))
        for word in range(3):
            for row in range(rows):
                entry = {"row": int(random.integers(4096)), "score": int(random.integers(65537)), "exp": exp,
                         "scale": {"mantissa": int(random.integers(65536)), "exponent": int(random.integers(-9, 9))}}
                schedule.append({"operands": e[word, row].tolist() if exp else [-255] * 8, "address": row,
                                 "exp": exp, "first": word == 0, "last": word == 2, "entry": entry})
                if word == 2:
                    scale = entry["scale"]
                    if exp:
                        scale = {"mantissa": sums.mantissa[row], "exponent": sums.exponent[row]}
                    expected.append((len(schedule) - 1 + unit.latency, entry["row"], entry["score"],
                                     scale["mantissa"], scale["exponent"]))
            # Tiles are at least 8 cycles apart.
            schedule += [None] * max(0, 9 - rows)
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
