# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.writer.row_sums import RowSums
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS


@pytest.mark.parametrize("name", ["8x8", "32x32"])
def test_few_rows_in_any_order(name):
    """Three rows, so that the same one often comes again in the next cycles. Each write is checked."""
    config, seed = CONFIGS[name], 5
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    unit, count = RowSums(config), 400
    old, word = random.integers(-32768, 32768, (2, count, config.k_lanes)) >> random.integers(0, 16, (2, count, 1))
    old[:9], word[:9] = 32767, -32768
    rows, enables = random.integers(0, 3, count), random.random(count) < 0.8
    start, table, history = [5, (1 << 26) - 1, -(1 << 26)], [], []
    table = list(start)
    for change, row, enable in zip((word - old).sum(axis=1).tolist(), rows, enables, strict=True):
        if enable:
            table[row] = (table[row] + change + (1 << 26)) % (1 << 27) - (1 << 26)
        history.append(table[row])

    # First the table is set. It is asked for the row of a word in the cycle after it is written: `latency` + 1 cycles
    # after the word.
    before, later = len(start), unit.latency + 1
    enable = [False] * before + enables.tolist() + [False] * later
    row = [0] * before + rows.tolist() + [0] * later
    zeros = np.zeros((1, config.k_lanes), np.int64)
    padded = {name: [*np.repeat(zeros, before, axis=0), *values, *np.repeat(zeros, later, axis=0)]
              for name, values in (("old", old), ("word", word))}
    found = StreamBench(unit).words({
        "row": row, "enable": enable, **padded,
        "set.valid": [1] * before + [0] * (len(row) - before),
        "set.payload": [{"row": at, "total": total} for at, total in enumerate(start)]
                       + [{"row": 1, "total": 77}] * (len(row) - before),
        "read.enable": [1] * len(row), "read.address": [0] * later + row[:-later]}, ["read.data"], 1)["read.data"]
    assert found[before + later:] == history
