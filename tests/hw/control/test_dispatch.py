# SPDX-License-Identifier: Apache-2.0
import pytest

from moevit.hw.control.dispatch import Dispatch
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import FIELDS

UNITS = ("loader", "reader", "writer")


def dispatches(count):
    return [{"instruction": {field.name: 0 for field in FIELDS} | {"opcode": index % 7, "rows": index},
             "sequence": index, "expert": index % 5} for index in range(count)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_each_unit_gets_every_instruction(stall):
    sent = dispatches(40)
    bench = StreamBench(Dispatch(4), seed=3)
    got = bench.run({"dispatch": sent}, dict.fromkeys(UNITS, len(sent)), stall=stall)
    for unit in UNITS:
        assert [(each["sequence"], each["instruction"]["rows"], each["expert"]) for each in got[unit]] \
            == [(each["sequence"], each["instruction"]["rows"], each["expert"]) for each in sent]


def test_the_slowest_unit_holds_the_others_up():
    bench = StreamBench(Dispatch(4), seed=4)
    sent = dispatches(60)
    bench.run({"dispatch": sent}, dict.fromkeys(UNITS, len(sent)), stalls={"writer": 0.8})
    ahead = [sum(cycle <= at for cycle in bench.cycles["loader"]) - index
             for index, at in enumerate(bench.cycles["writer"])]
    assert max(ahead) in (4, 5)


def test_latency():
    bench = StreamBench(Dispatch())
    for unit in UNITS:
        others = {name: None for name in UNITS if name != unit}
        assert bench.latency({"dispatch": dispatches(3)}, unit, outputs=others) == Dispatch.latency


def test_refuses_depth(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Dispatch(0)
