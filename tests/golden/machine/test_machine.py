# SPDX-License-Identifier: Apache-2.0
"""The golden machine gives the same tokens with every array, and refuses bad programs."""

import dataclasses

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine.device import GoldenDevice
from moevit.golden.machine.machine import Machine, ProgramStopped
from moevit.golden.quant.synthetic import synthetic_model
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import Opcode, Region, encode
from moevit.spec.networks import NETWORKS
from moevit.spec.registers import BITS, ErrorCode, offset

from .conftest import run_bundle


def test_tokens_do_not_depend_on_the_array(tiny_model, tiny_image):
    for task in range(2):
        tokens = [run_bundle(compile_model(tiny_model, config), config, tiny_image, task)[0]
                  for config in CONFIGS.values()]
        for other in tokens[1:]:
            np.testing.assert_array_equal(tokens[0], other)
        assert tokens[0].std() > 0


@pytest.mark.slow
@pytest.mark.parametrize("height, width", [(384, 384), (480, 640)], ids=["577 tokens", "1201 tokens"])
def test_long_sequences(height, width):
    """A long sequence is cut into row ranges, on the configuration made for it."""
    network, config = NETWORKS["m3vit_small"].for_image(height, width), CONFIGS["32x64_long"]
    model = synthetic_model(network, 1)
    image = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tokens, _ = run_bundle(compile_model(model, config), config, image, 0)
    np.testing.assert_array_equal(tokens, IntegerModel(model).run(image, 0).tokens)


def test_idle_experts_are_not_fetched(tiny_model, tiny_image):
    config = CONFIGS["8x8"]
    bundle = compile_model(tiny_model, config)
    _, run = run_bundle(bundle, config, tiny_image, 0)
    parts = [entry["part"] for entry in bundle.manifest["instructions"]]
    for part in ("expert_fc1", "expert_fc2"):
        experts = [done.expert for done in run.finished if parts[done.pc] == part]
        assert len(set(experts)) == len(experts)
        rows = sum(done.rows for done in run.finished if parts[done.pc] == part)
        assert rows == tiny_model.network.tokens * tiny_model.network.top_k


def machine_of(memory: np.ndarray) -> Machine:
    return Machine(CONFIGS["8x8"], lambda address, size: memory[address:address + size], lambda address, content: None)


def run_program(*instructions: np.ndarray):
    program = np.concatenate(instructions).astype("<u4").view(np.uint8)
    return machine_of(program).run({Region.WEIGHTS: 0}, 0, 0, len(instructions))


def test_bad_programs_stop_with_the_code_of_the_rtl():
    end = encode(opcode=Opcode.END)
    assert run_program(end).finished == []
    with pytest.raises(ProgramStopped, match="no END") as stopped:
        run_program(encode(opcode=Opcode.EXPERTS, body=0))
    assert stopped.value.code == ErrorCode.PROGRAM_RANGE
    with pytest.raises(ProgramStopped, match="illegal opcode 77") as stopped:
        run_program(np.array([77] + [0] * 15, np.uint32), end)
    assert (stopped.value.code, stopped.value.pc) == (ErrorCode.ILLEGAL_OPCODE, 0)


@pytest.mark.parametrize("stride", [20, 6, 5, 1])
def test_a_load_for_a_batch(stride):
    """A word is written to all of its places before the next word, also where copies overlap."""
    words = np.random.default_rng(3).integers(-32768, 32768, (6, 8))
    program = [encode(opcode=Opcode.LOAD, region=Region.WEIGHTS, region_offset=128, region_beats=12, rows=2, k_tiles=3,
                      destination_base=10, destination_stride=stride, copies=2), encode(opcode=Opcode.END)]
    machine = machine_of(np.concatenate([np.concatenate(program).astype("<u4").view(np.uint8),
                                         words.astype("<i2").reshape(-1).view(np.uint8)]))
    expected = machine.state.residual.copy()
    machine.run({Region.WEIGHTS: 0}, 0, 0, 2)
    for index, word in enumerate(words):
        for copy in range(3):
            expected[10 + copy * stride + index] = word
    np.testing.assert_array_equal(machine.state.residual, expected)


def test_device_latches_a_window_error():
    device = GoldenDevice(CONFIGS["8x8"])
    buffer = device.allocate(64)
    buffer.array[:] = encode(opcode=Opcode.END).astype("<u4").view(np.uint8)
    buffer.flush()
    device.write_register(offset("PROGRAM_LOW"), buffer.address)
    device.write_register(offset("PROGRAM_LENGTH"), 1)
    device.write_register(offset("CONTROL"), 1)
    assert device.read_register(offset("ERROR_CODE")) == ErrorCode.READ_WINDOW
    device.write_register(offset("READ_BASE_LOW"), buffer.address)
    device.write_register(offset("READ_LIMIT_LOW"), buffer.address + 64)
    device.write_register(offset("CONTROL"), 1)
    assert device.read_register(offset("CONTROL")) >> BITS["DONE"] & 1
    with pytest.raises(MemoryError):
        device.allocate(1 << 40)


def test_flipped_bits_of_a_program_end_in_a_code_or_in_a_run(tiny_model, tiny_image):
    """With any bit of a program flipped, the machine stops with an ErrorCode or runs. It never fails otherwise."""
    seed = 11
    rng, config = np.random.default_rng(seed), CONFIGS["8x8"]
    bundle, codes = compile_model(tiny_model, config), []
    for _ in range(150):
        program = bytearray(bundle.program)
        bit = int(rng.integers(8 * len(program)))
        program[bit // 8] ^= 1 << bit % 8
        try:
            run_bundle(dataclasses.replace(bundle, program=bytes(program)), config, tiny_image, 0)
        except ProgramStopped as stopped:
            codes.append(stopped.code)
    assert set(codes) >= {ErrorCode.ILLEGAL_OPCODE, ErrorCode.OPERAND}, f"seed {seed}"
