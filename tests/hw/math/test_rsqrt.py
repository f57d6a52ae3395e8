# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.rounding import bit_length
from moevit.hw.math.rsqrt import Rsqrt
from moevit.spec.tables import rsqrt_table

SEED = 2


def expected(spread):
    """As in ``golden.integer.norm.norm_rows``: (root, -(down >> 1))."""
    down = bit_length(spread) - 11
    down += down & 1
    mantissa = np.where(down > 0, spread >> np.maximum(down, 0), spread << np.maximum(-down, 0))
    return rsqrt_table()[mantissa - 512], -(down >> 1)


def check(run_flow, width, values):
    out = run_flow(Rsqrt(width), [int(value) for value in values])
    root, exponent = expected(np.array(values, np.int64))
    assert [row["mantissa"] for row in out] == list(root)
    assert [row["exponent"] for row in out] == list(exponent)


def test_every_entry_of_the_table(run_flow):
    check(run_flow, 53, np.arange(512, 2048) << 10)


def test_every_small_value(run_flow):
    check(run_flow, 12, np.arange(1, 1 << 12))


def test_width_of_the_norm(run_flow):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    values = random.integers(1, 1 << random.integers(1, 54, 500))
    edges = [edge for bit in range(53) for edge in ((1 << bit) - 1, 1 << bit, (2 << bit) - 1) if edge]
    check(run_flow, 53, [*edges, *values])


@pytest.mark.parametrize("width", [10, 65])
def test_width_refused(width, unused_allowed):
    with pytest.raises(ValueError, match=str(width)):
        Rsqrt(width)
