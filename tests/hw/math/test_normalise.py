# SPDX-License-Identifier: Apache-2.0
import pytest

from moevit.golden.integer.rounding import bit_length
from moevit.hw.math.normalise import Normalise


@pytest.mark.parametrize("width", [2, 9, 12])
def test_every_value(run_flow, width):
    unit = Normalise(width)
    padded = len(unit.o.payload.mantissa)
    values = range(1 << width)
    for value, out in zip(values, run_flow(unit, values), strict=True):
        if value == 0:
            assert (out["mantissa"], out["position"]) == (0, 0)
            continue
        assert out["position"] == bit_length(value) - 1
        assert out["mantissa"] == value << (padded - 1 - out["position"])


@pytest.mark.parametrize("width", [20, 25, 53])
def test_every_leading_one(run_flow, width):
    values = [edge for bit in range(1, width) for edge in ((1 << bit) - 1, 1 << bit, (2 << bit) - 1)]
    positions = [out["position"] for out in run_flow(Normalise(width), values, stall=0.3)]
    assert positions == [value.bit_length() - 1 for value in values]


def test_width_refused(unused_allowed):
    with pytest.raises(ValueError, match="at least 2, not 1"):
        Normalise(1)
