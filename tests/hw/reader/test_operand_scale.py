# SPDX-License-Identifier: Apache-2.0
import numpy as np

from moevit.golden.integer.row_scale import UNIT, peak_scale
from moevit.hw.reader.access import ReadPurpose
from moevit.hw.reader.operand_lanes import FACTOR_UNIT
from moevit.hw.reader.operand_scale import OperandScale
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Operand
from moevit.spec.tables import quantiser_table

SEED = 49


def test_random_rows():
    print(f"seed {SEED}")
    random, unit = np.random.default_rng(SEED), OperandScale(CONFIGS["8x8"])
    norm = [{"peak": {"fraction": int(random.integers(256)), "e": int(random.integers(-8, 17))},
             "scale": {"mantissa": int(random.integers(65536)), "exponent": int(random.integers(-128, 128))}}
            for _ in range(32)]
    rows = [None if random.integers(4) == 0 else {
        "purpose": ReadPurpose(int(random.integers(4))) if random.integers(4) == 0 else ReadPurpose.PASS,
        "operand": int(random.integers(4)), "final": int(random.integers(2)), "source_row": int(random.integers(32)),
        "destination_row": int(random.integers(4096)), "score": int(random.integers(65537)),
        "peak": int(random.integers(32769)),
    } for _ in range(400)]
    answer = None

    def expected(row):
        """Factor and scale of a row."""
        found = peak_scale(row["peak"])
        match row["operand"]:
            case Operand.ROW:
                m, e, scale = found.m, found.e, found.row_scale
                scale = (scale.mantissa, scale.exponent)
            case Operand.NORM:
                entry = norm[row["source_row"]]
                m, e = 256 + entry["peak"]["fraction"], entry["peak"]["e"]
                scale = (entry["scale"]["mantissa"], entry["scale"]["exponent"])
            case _:
                return FACTOR_UNIT, (UNIT.mantissa, UNIT.exponent)
        return {"multiplier": quantiser_table()[m - 256], "shift": 8 + e}, scale

    def step(ctx, cycle):
        nonlocal answer
        if answer is not None:
            ctx.set(unit.norm.data, norm[answer])
        here = rows[cycle] if cycle < len(rows) else None
        ctx.set(unit.row.valid, here is not None)
        if here:
            ctx.set(unit.row.payload, here)
        answer = ctx.get(unit.norm.address) if ctx.get(unit.norm.enable) else answer

        def earlier(delay):
            row = rows[cycle - delay] if 0 <= cycle - delay < len(rows) else None
            return row if row and row["purpose"] == ReadPurpose.PASS else None

        row = earlier(OperandScale.latency_maximum)
        if row:
            assert ctx.get(unit.maximum) == row["peak"]
        row = earlier(OperandScale.latency)
        assert ctx.get(unit.entry.valid) == bool(row and row["final"])
        if row and row["final"]:
            entry, (mantissa, exponent) = ctx.get(unit.entry.payload), expected(row)[1]
            assert (entry.row, entry.score) == (row["destination_row"], row["score"])
            assert entry.exp == (row["operand"] == Operand.EXP)
            assert (entry.scale.mantissa, entry.scale.exponent) == (mantissa, exponent)
        row = earlier(OperandScale.latency)
        if row:
            factor = ctx.get(unit.factor)
            assert {"multiplier": factor.multiplier, "shift": factor.shift} == expected(row)[0]

    StreamBench(unit).play(step, len(rows) + 8)
