# SPDX-License-Identifier: Apache-2.0
"""The performance model against the RTL: cycles of a frame within 3 %, the end of every instruction, every counter."""

from dataclasses import replace
from fractions import Fraction

import pytest

from moevit.compiler.assemble import compile_model
from moevit.compiler.plan import check_fit
from moevit.compiler.steps import schedule
from moevit.estimator.prefetch import MemoryTiming
from moevit.estimator.timing import frame_timing
from moevit.golden.quant.synthetic import synthetic_images, synthetic_model
from moevit.host.runtime import Accelerator
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.networks import NETWORKS, Network
from moevit.spec.parts import Part

from .conftest import config_of

#: Tolerance in cycles for the program walk and the bursts in a frame of a few thousand cycles.
SLACK = 80


#: Rows of one word and many n-tiles. At 8x16 they leave the array twice as fast as they can be stored.
NARROW = Network(name="narrow", height=24, width=80, patch=8, dim=8, heads=1, depth=2, hidden=256, experts=4, top_k=2,
                 expert_hidden=128, tasks=("semseg", "depth"))

#: Its router takes the experts one by one.
BIASED = replace(NETWORKS["tiny_test"], name="biased", gate="sigmoid", select_bias=True)

#: Two of its heads share an n-tile of values at 8x16.
PAIRED = replace(NETWORKS["tiny_test"], name="paired", heads=4)

#: A shared FFN while the router works. The layers of a task come from the region of its gates.
SHARED = replace(NETWORKS["tiny_test"], name="shared", shared_hidden=72, task_fc2=True, prefix_tokens=5)


def both(boards, network, name, latency=64, bandwidth=Fraction(1)):
    """A frame on the RTL and by the model. Experts have the checkpoint's numbers."""
    model, board, config = synthetic_model(network, seed=50), boards(name), config_of(name)
    with Accelerator(board) as accelerator:
        accelerator.load(compile_model(model, config))
        board.memory = MemorySettings(read_latency=latency, bandwidth=bandwidth)
        accelerator.run_raw(synthetic_images(network, 50, 1)[0], "depth", timeout=10)
        report = accelerator.report
    order = model["blocks.1.moe.order"].tolist()
    loads = [[report.expert_rows[1].get(expert, 0) for expert in order]]
    timing = frame_timing(schedule(model, check_fit(network, config)), config,
                          MemoryTiming(latency, 16, float(bandwidth)), loads)
    looped = Part.EXPERT_FC1, Part.EXPERT_FC2
    passes = [replace(each, expert=order[each.expert] if each.part in looped else 0) for each in timing.passes]
    return report, replace(timing, passes=passes)


@pytest.mark.parametrize("latency, bandwidth", [(64, Fraction(1)), (20, Fraction(2, 5))])
@pytest.mark.parametrize("network, name", [(NETWORKS["tiny_test"], "8x8"), (NETWORKS["tiny_test"], "8x16"),
                                           (PAIRED, "8x16"), (NARROW, "8x16"),
                                           (SHARED, "8x8"), (SHARED, "8x16"),
                                           (NETWORKS["tiny_test"], "16x16_four"), (BIASED, "8x8")])
def test_frame(boards, network, name, latency, bandwidth):
    report, timing = both(boards, network, name, latency, bandwidth)
    assert abs(timing.cycles - report.cycles) <= 0.03 * report.cycles
    assert [(each.name, each.expert, each.rows) for each in timing.passes] == [
        (each.name, each.expert, each.rows) for each in report.passes]
    late = {each.name: round(mine.end - each.end) for mine, each in zip(timing.passes, report.passes, strict=True)}
    assert all(abs(each) <= SLACK for each in late.values()), late
    assert timing.stalls["BUSY"] == report.stalls["BUSY"]
    assert timing.stalls.keys() == report.stalls.keys()
    for cause, counted in report.stalls.items():
        assert abs(timing.stalls[cause] - counted) <= 0.05 * report.cycles, (cause, timing.stalls, report.stalls)


def test_rows_wait_for_the_row_writer(boards):
    """A frame in which WAIT_WRITER is a large part."""
    report, timing = both(boards, NARROW, "8x16")
    counted = report.stalls["WAIT_WRITER"]
    assert counted >= 0.05 * report.cycles
    assert abs(timing.stalls["WAIT_WRITER"] - counted) <= 0.1 * counted
