# SPDX-License-Identifier: Apache-2.0
from amaranth import Module
from amaranth.back import verilog
from amaranth.sim import Simulator

from moevit.hw.math.square import Square


def test_every_square():
    units = [Square() for _ in range(8)]
    share = 65536 // len(units)
    found = [[] for _ in units]
    m = Module()
    m.submodules += units

    async def bench(ctx):
        for cycle in range(share + Square.latency):
            for index, unit in enumerate(units):
                if cycle < share:
                    ctx.set(unit.i, index * share + cycle)
                if cycle >= Square.latency:
                    found[index].append(ctx.get(unit.o))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert sum(found, []) == [value**2 for value in range(65536)]


def test_nothing_to_make_a_dsp_slice_of():
    assert " * " not in verilog.convert(Square(), emit_src=False)
