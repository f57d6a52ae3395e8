# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed

from moevit.golden.integer.row_scale import digits, peak_scale
from moevit.hw.math.row_scale import PeakScale, Quantiser, operand_digit
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.formats import QUANTISED_MAX
from moevit.spec.tables import quantiser_table

SEED = 3


def check_peaks(run_flow, width, peaks):
    out = run_flow(PeakScale(width), [int(peak) for peak in peaks])
    expected = peak_scale(np.array(peaks, np.int64))
    assert [row["fraction"] + 256 for row in out] == list(expected.m)
    assert [row["e"] for row in out] == list(expected.e)


def test_every_peak_of_a_row(run_flow):
    check_peaks(run_flow, 16, np.arange((1 << 15) + 1))


def test_peaks_of_a_norm(run_flow):
    print(f"seed {SEED}")
    random = np.random.default_rng(SEED)
    edges = [edge for bit in range(25) for edge in ((1 << bit) - 1, 1 << bit, (2 << bit) - 1)]
    carries = [(511 << shift) + add for shift in range(16) for add in (0, 1, (1 << shift) - 1)]
    check_peaks(run_flow, 25, [*edges, *carries, *random.integers(0, 1 << random.integers(1, 26, 1000))])


@pytest.mark.parametrize("width", [8, 26])
def test_width_refused(width, unused_allowed):
    with pytest.raises(ValueError, match=str(width)):
        PeakScale(width)


def test_every_entry_of_the_quantiser(run_flow):
    assert run_flow(Quantiser(), range(256)) == list(quantiser_table())


def combinational(function, shape, values):
    m = Module()
    m.i, m.o = Signal(shape), Signal(signed(32))
    m.d.comb += m.o.eq(function(m.i))
    return StreamBench(m).words({"i": values}, ["o"], 0)["o"]


@pytest.mark.parametrize("low", [0, 1])
def test_every_digit(low):
    q = np.arange(-(1 << 15) - 2, (1 << 15) + 3)
    clipped = np.clip(q, -QUANTISED_MAX, QUANTISED_MAX)
    assert combinational(lambda i: operand_digit(i, low, 1), signed(17), q) == list(digits(clipped)[low])


def test_every_digit_without_clipping():
    operand = np.arange(-256, 256)
    assert combinational(lambda i: operand_digit(i, 0, 0), signed(17), operand << 7) == list(operand)
