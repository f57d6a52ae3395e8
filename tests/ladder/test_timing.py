# SPDX-License-Identifier: Apache-2.0
"""The performance model against the RTL: cycles of a frame within 3 %, the end of every instruction, every counter."""

from fractions import Fraction

import pytest

from moevit.compiler.assemble import compile_model
from moevit.compiler.plan import check_fit
from moevit.compiler.steps import schedule
from moevit.compiler.stream import MemoryTiming
from moevit.compiler.timing import frame_timing
from moevit.golden.quant.synthetic import synthetic_images, synthetic_model
from moevit.host.runtime import Accelerator
from moevit.sim.settings import MemorySettings
from moevit.spec.networks import NETWORKS

from .conftest import config_of

NETWORK = NETWORKS["tiny_test"]
#: What the walk and the bursts do to a frame of a few thousand cycles, in cycles.
SLACK = 80


@pytest.mark.parametrize("latency, bandwidth", [(64, Fraction(1)), (20, Fraction(2, 5))])
@pytest.mark.parametrize("name", ["8x8", "8x16"])
def test_frame(boards, name, latency, bandwidth):
    model, board, config = synthetic_model(NETWORK, seed=50), boards(name), config_of(name)
    with Accelerator(board) as accelerator:
        accelerator.load(compile_model(model, config))
        board.memory = MemorySettings(read_latency=latency, bandwidth=bandwidth)
        accelerator.run_raw(synthetic_images(NETWORK, 50, 1)[0], "depth", timeout=10)
        report = accelerator.report
    order = model["blocks.1.moe.order"].tolist()  # the report has the checkpoint's numbers
    loads = [[report.expert_rows["blocks.1"].get(expert, 0) for expert in order]]
    timing = frame_timing(schedule(model, check_fit(NETWORK, config)), config,
                          MemoryTiming(latency, 16, float(bandwidth)), loads)
    assert abs(timing.cycles - report.cycles) <= 0.03 * report.cycles
    assert [(each.name, order[each.expert] if ".moe.fc" in each.name else 0, each.rows) for each in timing.passes] == [
        (each.name, each.expert, each.rows) for each in report.passes]
    late = {each.name: round(mine.end - each.end) for mine, each in zip(timing.passes, report.passes, strict=True)}
    assert all(abs(each) <= SLACK for each in late.values()), late
    assert timing.stalls["BUSY"] == report.stalls["BUSY"]
    for cause, counted in report.stalls.items():
        assert abs(timing.stalls.get(cause, 0) - counted) <= 0.05 * report.cycles, (cause, timing.stalls, report.stalls)
