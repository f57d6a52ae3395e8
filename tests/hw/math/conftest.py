# SPDX-License-Identifier: Apache-2.0
"""A bench for units between two flows."""

import pytest

from moevit.sim.bench.stream_bench import StreamBench


@pytest.fixture
def run_flow():
    """``run_flow(unit, values, stall=0.0)``: sends ``values`` to ``unit.i`` and returns what ``unit.o`` gives.

    ``stall`` is the share of idle cycles. Every value must come out ``unit.latency`` cycles later.
    """
    def run(unit, values, stall=0.0):
        bench = StreamBench(unit)
        received = bench.run({"i": values}, {"o": len(values)}, stall=stall)["o"]
        assert bench.cycles["o"] == [cycle + unit.latency for cycle in bench.cycles["i"]]
        return received

    return run
