# SPDX-License-Identifier: Apache-2.0
from amaranth.back import verilog

from moevit.hw.math.square import Square
from moevit.sim.bench.stream_bench import StreamBench


def test_every_square():
    values = range(1 << 16)
    assert StreamBench(Square()).words({"i": values}, ["o"], Square.latency)["o"] == [value**2 for value in values]


def test_nothing_to_make_a_dsp_slice_of():
    assert " * " not in verilog.convert(Square(), emit_src=False)
