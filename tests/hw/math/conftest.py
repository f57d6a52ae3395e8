# SPDX-License-Identifier: Apache-2.0
"""A bench for units between two flows: one value in per cycle, outputs with the cycle they came in."""

import pytest
from amaranth.sim import Simulator


@pytest.fixture
def run_flow():
    """``run_flow(unit, values, gaps=())``: drives ``values`` into ``unit.i`` (an idle cycle before each index in
    ``gaps``) and returns what came out of ``unit.o``, after checking that each took ``unit.latency`` cycles."""

    def run(unit, values, gaps=()):
        schedule = []
        for index, value in enumerate(values):
            schedule += [None, value] if index in gaps else [value]
        sent, received, outputs = [], [], []

        async def bench(ctx):
            for cycle, value in enumerate([*schedule, *[None] * (unit.latency + 2)]):
                ctx.set(unit.i.valid, value is not None)
                if value is not None:
                    ctx.set(unit.i.payload, value)
                    sent.append(cycle)
                if ctx.get(unit.o.valid):
                    received.append(cycle)
                    outputs.append(ctx.get(unit.o.payload))
                await ctx.tick()

        simulator = Simulator(unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        assert received == [cycle + unit.latency for cycle in sent]
        return outputs

    return run
