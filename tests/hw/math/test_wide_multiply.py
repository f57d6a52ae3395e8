# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.hdl import signed, unsigned

from moevit.hw.math.wide_multiply import WideMultiply
from moevit.sim.bench.stream_bench import StreamBench

SEED = 5


def edges(shape):
    low = -(1 << (shape.width - 1)) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    return [low, high, 0, 1, low + 1, high - 1]


@pytest.mark.parametrize("dsp48", [True, False])
@pytest.mark.parametrize("a, b", [
    (signed(27), unsigned(24)), (signed(27), signed(27)), (unsigned(12), unsigned(42)), (signed(8), signed(16)),
    (signed(26), signed(18)), (unsigned(26), unsigned(18)),
    (signed(17), signed(18)), (signed(18), signed(19)), (signed(19), unsigned(17)),
])
def test_products(a, b, dsp48):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    pairs = [(left, right) for left in edges(a) for right in edges(b)]
    pairs += [(int(random.integers(min(edges(a)), max(edges(a)))), int(random.integers(min(edges(b)), max(edges(b)))))
              for _ in range(200)]
    unit = WideMultiply(a, b, dsp48=dsp48)
    left, right = zip(*pairs, strict=True)
    out = StreamBench(unit).words({"a": left, "b": right}, ["o"], unit.latency)["o"]
    assert out == [left * right for left, right in pairs]


def test_width_refused(unused_allowed):
    with pytest.raises(ValueError, match="27 signed bits"):
        WideMultiply(unsigned(27), unsigned(4))
