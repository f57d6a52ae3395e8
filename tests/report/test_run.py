# SPDX-License-Identifier: Apache-2.0
"""What a run leaves, as bars and loads: read bursts find their instructions by address."""

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.estimator.estimate import estimate
from moevit.golden.machine.device import GoldenDevice
from moevit.host.report import KINDS
from moevit.host.runtime import Accelerator
from moevit.report.colours import KIND_COLOURS
from moevit.report.run import (
    load_bars,
    logged,
    machine_loads,
    predicted_lane,
    predicted_passes,
    program,
    roofline_passes,
    write_bars,
)
from moevit.report.timeline import Bar
from moevit.sim.verilator.records import BURST
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Opcode
from moevit.spec.parts import Part

from ..conftest import model_of, random_image

ADDRESSES = {"program": 0x1000, "weights": 0x10_0000, "gates": 0x80_0000, "image0": 0x90_0000, "image1": 0x90_8000,
             "output0": 0xA0_0000}


@pytest.fixture(scope="module")
def bundle():
    return compile_model(model_of("tiny_test"), CONFIGS["8x8"])


@pytest.fixture(scope="module")
def report(bundle):
    with GoldenDevice(CONFIGS["8x8"]) as device, Accelerator(device) as accelerator:
        accelerator.load(bundle)
        accelerator.run(random_image("tiny_test"), bundle.tasks[0])
        return accelerator.report


def bursts(*records: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(records), BURST)


def test_every_payload_is_found_by_its_address(bundle):
    entries = [(entry, fields) for entry, fields in program(bundle) if fields.get("region_beats")]
    weights = [(entry, fields) for entry, fields in entries if fields["region"] == 1 and "experts" not in entry]
    records = [(100, ADDRESSES["program"], 16, 0)]
    records += [(200 + 100 * index, ADDRESSES["weights"] + fields["region_offset"], 4, 0)
                for index, (_, fields) in enumerate(weights)]
    lane = load_bars(bursts(*records), bundle, ADDRESSES)
    assert lane.bars[0] == Bar("program", 0.0, 16.0, KIND_COLOURS["image, output"])
    assert [bar.name for bar in lane.bars[1:]] == [entry["name"] for entry, _ in weights]
    assert [bar.start for bar in lane.bars[1:]] == [100.0 * (index + 1) for index in range(len(weights))]
    for bar, (entry, _) in zip(lane.bars[1:], weights, strict=True):
        assert bar.colour == KIND_COLOURS[KINDS[Part(entry["part"])]]


def test_experts_gates_of_any_task_and_images(bundle):
    entry, fields = next((entry, fields) for entry, fields in program(bundle) if entry["part"] == "expert_fc1")
    gate, gate_fields = next((entry, fields) for entry, fields in program(bundle) if entry["part"] == "gate")
    size = fields["expert_beats"] * bundle.manifest["bus_bytes"]
    last = len(entry["experts"]) - 1
    lane = load_bars(bursts(
        (0, ADDRESSES["program"], 1, 0), (10, ADDRESSES["image1"] + 64, 2, 0),
        (20, ADDRESSES["gates"] + bundle.manifest["gate_stride"] + gate_fields["region_offset"], 2, 0),
        (30, ADDRESSES["weights"] + fields["region_offset"] + last * size, 2, 0)), bundle, ADDRESSES)
    assert [bar.name for bar in lane.bars] == ["program", "image", gate["name"], entry["name"]]


def test_bursts_of_one_instruction_are_one_bar(bundle):
    lane = load_bars(bursts(*((10 * index, ADDRESSES["program"] + 128 * index, 16, 0) for index in range(4))), bundle,
                     ADDRESSES)
    assert lane.bars == [Bar("program", 0.0, 46.0, KIND_COLOURS["image, output"])]
    assert load_bars(bursts(), bundle, ADDRESSES).bars == [] and write_bars(bursts()).bars == []


def test_writes_that_follow_each_other_are_one_bar():
    lane = write_bars(bursts((100, 0x1000, 4, 0), (1100, 0x2000, 16, 1), (1120, 0x2080, 16, 1), (5100, 0x3000, 8, 1)))
    assert [(bar.start, bar.end) for bar in lane.bars] == [(1000, 1036), (5000, 5008)]


def test_loads_are_in_the_machines_order(bundle, report):
    loads, early = machine_loads(report.expert_rows, bundle)
    network = model_of("tiny_test").network
    assert set(loads) == set(early) == {block for block in range(network.depth) if network.is_moe(block)}
    for block, rows in loads.items():
        order = next(entry["experts"] for entry, _ in program(bundle) if entry["block"] == block and "experts" in entry)
        assert rows == [report.expert_rows[block].get(expert, 0) for expert in order]
        assert sum(rows) == network.tokens * network.top_k
    speculated = [fields["speculate"] for _, fields in program(bundle) if fields["opcode"] == Opcode.EXPERTS]
    assert list(early.values()) == speculated


def test_passes_of_log_and_estimator(bundle, report):
    assert [each.kind for each in roofline_passes(report.passes)] == [KINDS[each.part] for each in report.passes]
    assert logged(report.passes).bars == []  # the golden machine keeps no time
    loads, early = machine_loads(report.expert_rows, bundle)
    found = estimate(model_of("tiny_test"), CONFIGS["8x8"], loads=loads, speculate=early)
    lane = predicted_lane(found.timing.passes)
    assert [bar.name for bar in lane.bars] == [each.name for each in report.passes]
    assert max(bar.end for bar in lane.bars) <= found.cycles
    predicted = predicted_passes(found.timing.passes, bundle, CONFIGS["8x8"].beat_bytes)
    assert [each[:3] for each in predicted] == [each[:3] for each in roofline_passes(report.passes)]
    assert sum(each.cycles for each in predicted) == found.timing.passes[-1].end
