# SPDX-License-Identifier: Apache-2.0
from operator import add

import pytest
from amaranth.hdl import Module, Signal, signed

from moevit.hw.plumbing.timeline import Timeline, tree, tree_stages
from moevit.sim.bench.stream_bench import StreamBench


def test_delays_also_under_a_condition():
    m, i, condition, o, next_stage = Module(), Signal(8), Signal(), Signal(8), Signal(8)
    pipe = Timeline(m)
    pipe.put(2, value=i)
    with m.If(condition):
        m.d.comb += o.eq(pipe.at(5, "value"))
    m.d.comb += next_stage.eq(pipe.at(3, "value"))
    seen = []

    def step(ctx, cycle):
        ctx.set(i, cycle)
        ctx.set(condition, cycle % 2)
        seen.append((ctx.get(next_stage), ctx.get(o)))

    StreamBench(m).play(step, 20)
    assert seen[5:] == [(cycle - 1, cycle - 3 if cycle % 2 else 0) for cycle in range(5, 20)]


def test_only_flags_are_reset():
    m = Module()
    m.i, m.flag, m.value = Signal(), Signal(), Signal()
    pipe = Timeline(m)
    pipe.put(0, reset=True, flag=m.i)
    pipe.put(0, value=m.i)
    m.d.comb += [m.flag.eq(pipe.at(2, "flag")), m.value.eq(pipe.at(2, "value"))]
    bench, seen = StreamBench(m), []

    def step(ctx, cycle):
        ctx.set(m.i, 1)
        ctx.set(bench.reset, cycle == 5)
        seen.append((ctx.get(m.flag), ctx.get(m.value)))

    bench.play(step, 10)
    assert seen == [(0, 0)] * 2 + [(1, 1)] * 4 + [(0, 1)] * 2 + [(1, 1)] * 2


def test_misuse():
    m = Module()
    pipe = Timeline(m)
    pipe.put(2, value=Signal())
    pipe.at(3, "value")
    with pytest.raises(ValueError, match="already a signal called 'value'"):
        pipe.put(3, value=Signal())
    with pytest.raises(ValueError, match="not there before stage 2"):
        pipe.at(1, "value")
    StreamBench(m).play(lambda ctx, cycle: None, 1)


@pytest.mark.parametrize("leaves, levels, first, expected", [
    (8, 2, None, 2), (16, 2, None, 2), (8, 1, None, 3), (64, 2, None, 3), (2, 1, None, 1), (16, 2, 1, 3), (64, 2, 1, 4),
    (3, 1, None, 2), (24, 2, 1, 3), (48, 2, 1, 4), (192, 2, 1, 5),
])
def test_tree(leaves, levels, first, expected):
    m = Module()
    values = [Signal(signed(5), name=f"value_{leaf}") for leaf in range(leaves)]
    total = tree(m, values, add, "total", levels, first)
    o, seen, stages = Signal(signed(16)), [], tree_stages(leaves, levels, first)
    m.d.comb += o.eq(total)

    def step(ctx, cycle):
        for leaf, value in enumerate(values):
            ctx.set(value, (leaf * cycle) % 32 - 16)
        seen.append(ctx.get(o))

    StreamBench(m).play(step, 30)
    assert stages == expected
    assert seen[stages:] == [sum((leaf * cycle) % 32 - 16 for leaf in range(leaves)) for cycle in range(30 - stages)]
