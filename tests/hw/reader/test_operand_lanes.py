# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer.norm import apply_gain
from moevit.golden.integer.row_scale import RoundedPeak, digits, peak_scale, quantise
from moevit.golden.integer.softmax import exponentials
from moevit.hw.reader.access import ReadPurpose
from moevit.hw.reader.operand_lanes import FACTOR_UNIT, OperandLanes
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import Operand
from moevit.spec.tables import quantiser_table

from ...configs import TEST_CONFIGS

SEED = 45


def factor(scale):
    """Factors of rows with peak scales ``scale``."""
    multiplier = quantiser_table()[scale.m - 256]
    return [{"multiplier": int(m), "shift": int(8 + e)} for m, e in zip(multiplier, scale.e, strict=True)]


def run(words, factors, maximums=None, name="8x8", packed=True):
    """Operands (words, lanes) of fetched words, given as dicts with ``data`` and ``gain`` of the first one, ``next``
    with those of the words behind it; also the squares and values."""
    config = replace(TEST_CONFIGS[name], packed=packed)
    unit, count = OperandLanes(config), len(words)
    operands, squares, values = [], [], [[] for _ in range(config.norm_words)]

    def step(ctx, cycle):
        ctx.set(unit.word.valid, cycle < count)
        if cycle < count:
            both = {key: value for key, value in words[cycle].items() if key in ("data", "gain")}
            rest = {key: value for key, value in words[cycle].items() if key not in ("data", "gain", "next")}
            ctx.set(unit.word.payload, rest | {"words": [both, *words[cycle].get("next", [])]})
            ctx.set(unit.maximum, int(maximums[cycle]) if maximums is not None else 0)
        if 0 <= cycle - OperandLanes.factor_delay < count:
            ctx.set(unit.factor, factors[cycle - OperandLanes.factor_delay])
        if 0 <= cycle - OperandLanes.latency_squares < count:
            squares.append(list(ctx.get(unit.squares)))
        for index in range(config.norm_words):
            if 0 <= cycle - OperandLanes.latency_values[index] < count:
                values[index].append([ctx.get(unit.values[8 * index + lane]) for lane in range(8)])
        due = cycle - unit.latency
        is_pass = 0 <= due < count and words[due]["purpose"] == ReadPurpose.PASS
        assert ctx.get(unit.operands.valid) == is_pass
        if is_pass:
            operands.append(list(ctx.get(unit.operands.payload)))

    StreamBench(unit).play(step, count + OperandLanes.latency)
    return np.array(operands), np.array(squares), np.concatenate(values, axis=1)


@pytest.mark.parametrize("peak", [32768, 32767, 12345, 511 << 3, 300, 1])
@pytest.mark.parametrize("low", [0, 1])
def test_every_value_under_a_peak(peak, low):
    x = np.arange(max(-peak, -32768), min(peak, 32767) + 1)
    if len(x) > 4096 and (peak != 32768 or low):  # every digit of every q: tests/hw/math/test_row_scale.py
        x = np.concatenate([x[:1000], x[::97], x[-1000:]])
    x = np.pad(x, (0, -len(x) % 8)).reshape(-1, 8)
    scale = peak_scale(np.full(len(x), peak))
    words = [{"data": row, "purpose": ReadPurpose.PASS, "operand": Operand.ROW, "low_digit": low} for row in x.tolist()]
    operands, _, _ = run(words, factor(scale))
    assert np.array_equal(operands, digits(quantise(x, RoundedPeak(scale.m[:, None], scale.e[:, None])))[low])


def test_raw_values():
    x = np.arange(-32768, 32768, 13)[:5040].reshape(-1, 8)
    words = [{"data": row, "purpose": ReadPurpose.PASS, "operand": Operand.RAW} for row in x.tolist()]
    operands, _, _ = run(words, [FACTOR_UNIT] * len(words))
    assert np.array_equal(operands, ((x + 256) & 511) - 256)


def test_every_exponential():
    x = np.arange(-4000, 4000).reshape(-1, 8)
    keys = np.arange(len(x)) % 9
    words = [{"data": row, "purpose": ReadPurpose.PASS, "operand": Operand.EXP, "key_mask": (1 << count) - 1}
             for row, count in zip(x.tolist(), keys.tolist(), strict=True)]
    maximums = np.full(len(x), 3999)
    operands, _, _ = run(words, [FACTOR_UNIT] * len(words), maximums)
    golden = exponentials(x, maximums, 8)
    assert np.array_equal(operands, np.where(np.arange(8) < keys[:, None], golden, 0))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "portable"])
@pytest.mark.parametrize("low", [0, 1])
def test_norm_extremes(low, packed):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    ends = np.array([-32768, -32767, -1, 0, 1, 32767])
    x, gain = ends[random.integers(0, 6, (400, 8))], ends[random.integers(0, 6, (400, 8))]
    mean = ends[random.integers(0, 6, 400)]
    x[200:], gain[200:], mean[200:] = (random.integers(-32768, 32768, shape) for shape in ((200, 8), (200, 8), 200))
    value = apply_gain(x, mean[:, None], gain)
    scale = peak_scale(np.abs(value).max(axis=1))
    words = [{"data": row, "gain": by, "mean": middle, "purpose": ReadPurpose.PASS, "operand": Operand.NORM,
              "low_digit": low} for row, by, middle in zip(x.tolist(), gain.tolist(), mean.tolist(), strict=True)]
    operands, _, values = run(words, factor(scale), packed=packed)
    assert np.array_equal(values, value)
    assert np.array_equal(operands, digits(quantise(value, RoundedPeak(scale.m[:, None], scale.e[:, None])))[low])


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "portable"])
@pytest.mark.parametrize("name", ["8x8", "8x16_pairs", "8x16"])
def test_statistics(name, packed):
    """Of one to three words, each with its own gain."""
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    lanes = 8 * TEST_CONFIGS[name].norm_words
    x, gain = random.integers(-32768, 32768, (2, 60, lanes))
    x[1] = -32768
    x[3] = 0
    x[5, 8:] = gain[5, 8:] = 0  # as behind a last word
    x[7], gain[7], x[9], gain[9] = -32768, -32768, 32767, -32768
    kinds = [ReadPurpose.MEANS, ReadPurpose.PEAKS] * 30
    words = [{"data": row[:8], "gain": by[:8], "mean": 0 if kind == ReadPurpose.MEANS else 77, "purpose": kind,
              "next": [{"data": row[at:at + 8], "gain": by[at:at + 8]} for at in range(8, lanes, 8)]}
             for row, by, kind in zip(x.tolist(), gain.tolist(), kinds, strict=True)]
    operands, squares, values = run(words, [FACTOR_UNIT] * 60, name=name, packed=packed)
    assert len(operands) == 0
    assert np.array_equal(squares[1::2], x[1::2]**2)
    assert np.array_equal(values[1::2], apply_gain(x[1::2], np.int64(77), gain[1::2]))
