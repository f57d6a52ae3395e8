# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer.rounding import round_shift
from moevit.golden.integer.row_scale import RowScale
from moevit.golden.integer.row_writer import scaled
from moevit.hw.writer.sum_scale import SumScale
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS
from moevit.spec.formats import DIGIT_BITS


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "portable"])
@pytest.mark.parametrize("name", ["8x8", "32x32"])
def test_random_and_edges(name, packed):
    """Accumulators of all sizes, from one sum or two; scales at both ends of their range; every shift."""
    config, seed, count = replace(CONFIGS[name], packed=packed), 5, 250
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    lanes = config.k_lanes
    sums = random.integers(-(1 << 26), 1 << 26, (count, lanes)) >> random.integers(0, 27, (count, lanes))
    sums[random.random((count, lanes)) < 0.05] = -(1 << 26)
    sums[random.random((count, lanes)) < 0.05] = (1 << 26) - 1
    mantissa = np.where(random.random(count) < 0.2, 65535, random.integers(0, 65536, count))
    exponent, shift = random.integers(-20, 21, count), random.integers(0, 64, count)
    column_scale = np.where(random.random((count, lanes)) < 0.2, 65535, random.integers(0, 65536, (count, lanes)))
    bias = random.integers(-32768, 32768, (count, lanes))
    constant, gate = random.random(count) < 0.2, random.random(count) < 0.3
    constant_scale = random.integers(0, 65536, count)
    used_scale = np.where(constant[:, None], constant_scale[:, None], column_scale)
    digits = random.random(count) < 0.3
    high = random.integers(-(1 << 25), 1 << 25, (count, config.max_experts)) >> random.integers(0, 26, (count, 1))
    accumulator = sums.copy()
    if config.gate_sweeps == 2:
        low = round_shift(sums[:, :config.max_experts], DIGIT_BITS)
        accumulator[digits, :config.max_experts] = (low + high)[digits]
    used_bias = np.where(constant[:, None], 0, bias)
    aligned = np.where(gate[:, None] & (np.arange(lanes) < config.max_experts), used_bias << 8, used_bias)
    expected = np.concatenate([
        scaled(accumulator[i:i + 1], RowScale(mantissa[i:i + 1], exponent[i:i + 1]), used_scale[i], shift[i])
        for i in range(count)]) + aligned
    columns = [[{"scale": scale, "bias": value} for scale, value in zip(scales, biases, strict=True)]
               for scales, biases in zip(column_scale, bias, strict=True)]
    scale = [{"mantissa": row, "exponent": power} for row, power in zip(mantissa, exponent, strict=True)]
    unit = SumScale(config)
    found = StreamBench(unit).words(
        {"sums": sums, "scale": scale, "shift": shift, "columns": columns, "constant": constant,
         "constant_scale": constant_scale, "gate": gate, "digits": digits, "high": high}, ["o", "bias"], unit.latency)
    assert np.array_equal(found["o"], expected)
    assert np.array_equal(found["bias"], used_bias)
