# SPDX-License-Identifier: Apache-2.0
"""Experts that are fetched before their queues are known: the same words, other bytes, fewer cycles."""

import dataclasses

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.host.errors import BusError, ProgramRefused
from moevit.host.runtime import Accelerator
from moevit.sim.verilator.settings import Fault, FaultKind, MemorySettings
from moevit.spec.formats import BIAS_MASKED
from moevit.spec.isa import decode, encode
from moevit.spec.registers import ErrorCode, offset

from .conftest import config_of

QUIET = MemorySettings()
MEMORIES = (QUIET, MemorySettings(stall=0.4, seed=3, read_latency=90), MemorySettings(bandwidth=0.25))


def with_idle(model, *experts: int):
    """The model with some experts (in the machine's numbers) masked for every task."""
    bias = model["blocks.1.moe.gate.bias"].copy()
    bias[:, experts] = BIAS_MASKED
    return dataclasses.replace(model, tensors={**model.tensors, "blocks.1.moe.gate.bias": bias})


@pytest.mark.parametrize("name", ["8x8", "8x16"])
@pytest.mark.parametrize("idle", [(), (0,), (1, 2), (0, 1)], ids=str)
def test_every_word_is_the_same(pair, tiny_model, tiny_image, name, idle):
    model = with_idle(tiny_model, *idle)
    plain = pair(model, name, speculate=0)
    tokens = {task: plain.run(tiny_image, task) for task in plain.rtl.tasks}
    assert plain.surplus_bytes == 0
    both = pair(model, name, speculate=4)
    for task, expected in tokens.items():
        for memory in MEMORIES:
            both.board.memory = memory
            np.testing.assert_array_equal(both.run(tiny_image, task), expected)
            assert both.idle_bytes > 0 if idle else both.surplus_bytes == 0
            if 0 in idle:
                assert both.surplus_bytes > 0, "the first expert was not fetched early"


def test_a_batch(pair, tiny_model, tiny_image):
    """Queues contain the tokens of all images, so an idle expert is idle for all of them."""
    both = pair(with_idle(tiny_model, 0), "8x8", batch=2, speculate=4)
    both.run(np.stack([tiny_image, tiny_image[::-1]]), "semseg")
    assert both.surplus_bytes > 0


def test_fewer_cycles_where_the_memory_is_slow(pair, tiny_model, tiny_image):
    cycles = {}
    for speculate in (0, 4):
        both = pair(tiny_model, "8x8", speculate=speculate)
        both.board.memory = MemorySettings(bandwidth=0.25)
        both.run(tiny_image, "depth")
        cycles[speculate] = both.rtl.report.cycles
    assert cycles[4] < cycles[0]


def test_expert_numbers_are_the_checkpoints(pair, tiny_model, tiny_image):
    order = tiny_model["blocks.1.moe.order"].tolist()
    assert order != [0, 1, 2, 3], "this seed shows nothing"
    both = pair(with_idle(tiny_model, 1), "8x8")
    both.run(tiny_image, "semseg")
    rows = both.rtl.report.expert_rows[1]
    assert rows == both.golden.report.expert_rows[1]
    assert order[1] not in rows and sum(rows.values()) == 2 * tiny_model.network.tokens


@pytest.fixture
def world(boards, tiny_model, tiny_image):
    """An accelerator, and a bundle whose expert 0 is idle and may be fetched early."""
    bundle = compile_model(with_idle(tiny_model, 0), config_of("8x8"), speculate=4)
    with Accelerator(boards("8x8")) as accelerator:
        accelerator.load(bundle)
        yield accelerator, bundle, accelerator.run_raw(tiny_image, "depth", timeout=0.01)


def test_memory_fails_on_an_expert_that_nobody_needs(world, boards, tiny_image):
    """The error names the instruction that requested the bytes. The machine runs again afterwards."""
    accelerator, bundle, tokens = world
    names = [entry["name"] for entry in bundle.manifest["instructions"]]
    pc = names.index("blocks.1.moe.fc1")
    fields = decode(np.frombuffer(bundle.program, "<u4").reshape(-1, 16)[pc])
    first = accelerator.addresses["weights"] + fields["region_offset"]
    for kind, code in ((FaultKind.SLVERR, ErrorCode.READ_SLAVE), (FaultKind.LAST_EARLY, ErrorCode.READ_PROTOCOL)):
        boards("8x8").memory = MemorySettings(fault=Fault(kind=kind, base=first + 64, limit=first + 72))
        with pytest.raises(BusError, match=f"{code.name} at instruction {pc} "):
            accelerator.run_raw(tiny_image, "depth", timeout=0.01)
        boards("8x8").memory = QUIET
        accelerator.reset()
        np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth", timeout=0.01), tokens)


@pytest.mark.parametrize("body, fields, error, code", [
    ("fc1", {"region_offset": 1 << 26}, BusError, ErrorCode.READ_WINDOW),
    ("fc1", {"region_offset": 4}, BusError, ErrorCode.ALIGNMENT),
    ("fc2", {"region_beats": 3}, ProgramRefused, ErrorCode.OPERAND),
    ("experts", {"speculate": 9}, ProgramRefused, ErrorCode.OPERAND),
], ids=str)
def test_bad_instructions_are_named(world, tiny_image, body, fields, error, code):
    accelerator, bundle, tokens = world
    pc = [entry["name"] for entry in bundle.manifest["instructions"]].index(f"blocks.1.moe.{body}")
    words = np.frombuffer(bundle.program, "<u4").reshape(-1, 16).copy()
    words[pc] = encode(**{**decode(words[pc]), **fields})
    accelerator.load(dataclasses.replace(bundle, program=words.astype("<u4").tobytes()))
    with pytest.raises(error, match=code.name):
        accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    assert accelerator.device.read_register(offset("ERROR_PC")) == pc
    accelerator.reset()
    accelerator.load(bundle)
    np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth", timeout=0.01), tokens)
