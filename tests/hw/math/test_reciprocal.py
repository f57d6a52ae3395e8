# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.row_scale import reciprocal
from moevit.hw.math.reciprocal import Reciprocal

SEED = 1


def check(run_flow, width, values, stall=0.0):
    unit = Reciprocal(width)
    assert unit.latency == (3 if width <= 16 else 4)
    out = run_flow(unit, [int(value) for value in values], stall)
    expected = reciprocal(np.array(values, np.int64))
    assert [row["mantissa"] for row in out] == list(expected.mantissa)
    assert [row["exponent"] for row in out] == list(expected.exponent)


def test_every_entry_of_the_table(run_flow):
    check(run_flow, 21, np.arange(1024, 2048) << 10)


def test_every_small_value(run_flow):
    check(run_flow, 12, np.arange(1, 1 << 12))


@pytest.mark.parametrize("width", [20, 21, 32, 40])
def test_widths(run_flow, width):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    values = random.integers(1, 1 << random.integers(1, width + 1, 300))
    edges = [edge for bit in range(width) for edge in ((1 << bit) - 1, 1 << bit, (2 << bit) - 1) if edge]
    check(run_flow, width, [*edges, *values], stall=0.3)


@pytest.mark.parametrize("width", [10, 41])
def test_width_refused(width, unused_allowed):
    with pytest.raises(ValueError, match=str(width)):
        Reciprocal(width)
