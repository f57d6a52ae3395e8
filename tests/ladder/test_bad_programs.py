# SPDX-License-Identifier: Apache-2.0
"""With bad programs, bad addresses or a failing memory, the RTL stops with a code, never hangs, and runs again
afterwards."""

import dataclasses

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.machine.device import GoldenDevice
from moevit.host.errors import AcceleratorTimeout, BusError, ProgramRefused
from moevit.host.runtime import Accelerator
from moevit.sim.verilator.settings import Fault, FaultKind, MemorySettings
from moevit.spec.isa import Opcode, decode, encode
from moevit.spec.registers import ErrorCode, offset

from .conftest import config_of

NAME = "8x8"


@pytest.fixture
def bundle(tiny_model):
    return compile_model(tiny_model, config_of(NAME))


@pytest.fixture
def accelerator(boards):
    with Accelerator(boards(NAME)) as accelerator:
        yield accelerator


def changed(bundle, pc: int, **fields: int):
    """The bundle with some fields of one instruction changed."""
    words = np.frombuffer(bundle.program, "<u4").reshape(-1, 16).copy()
    words[pc] = encode(**{**decode(words[pc]), **fields})
    return dataclasses.replace(bundle, program=words.astype("<u4").tobytes())


def with_words(bundle, words: np.ndarray):
    return dataclasses.replace(bundle, program=words.astype("<u4").tobytes())


def words_of(bundle) -> np.ndarray:
    return np.frombuffer(bundle.program, "<u4").reshape(-1, 16).copy()


def pc_of(bundle, name: str) -> int:
    return [entry["name"] for entry in bundle.manifest["instructions"]].index(name)


def refused(accelerator, bundle, image, error, code: ErrorCode, pc: int | None = None) -> None:
    """The run ends with ``code``. After a reset the good program runs as before."""
    good = accelerator.good
    accelerator.load(bundle)
    with pytest.raises(error, match=code.name):
        accelerator.run_raw(image, "depth", timeout=0.01)
    if pc is not None:
        assert accelerator.device.read_register(offset("ERROR_PC")) == pc
    accelerator.reset()
    accelerator.load(good)
    np.testing.assert_array_equal(accelerator.run_raw(image, "depth", timeout=0.01), accelerator.tokens)


@pytest.fixture
def stops(accelerator, bundle, tiny_image):
    accelerator.load(bundle)
    accelerator.good, accelerator.tokens = bundle, accelerator.run_raw(tiny_image, "depth", timeout=0.01)

    def check(bad, error, code, pc=None):
        refused(accelerator, bad, tiny_image, error, code, pc)
    return check


def test_illegal_opcode(stops, bundle):
    for opcode in (0, 8, 255):
        words = words_of(bundle)
        words[5, 0] = words[5, 0] & ~np.uint32(0xFF) | np.uint32(opcode)
        stops(with_words(bundle, words), ProgramRefused, ErrorCode.ILLEGAL_OPCODE, 5)


def test_field_that_the_opcode_does_not_have(stops, bundle):
    words = words_of(bundle)
    words[3, 11] |= 1  # NORM has no constant_scale
    stops(with_words(bundle, words), ProgramRefused, ErrorCode.ILLEGAL_OPCODE, 3)


def test_missing_end(stops, bundle):
    stops(with_words(bundle, words_of(bundle)[:-1]), ProgramRefused, ErrorCode.PROGRAM_RANGE)


def test_program_longer_than_its_memory(stops, bundle):
    words = np.tile(encode(opcode=Opcode.EXPERTS, body=0), (config_of(NAME).program_length + 1, 1))
    stops(with_words(bundle, words), ProgramRefused, ErrorCode.PROGRAM_RANGE)


def test_expert_loop_past_the_end(stops, bundle):
    words = words_of(bundle)
    words[-1] = encode(opcode=Opcode.EXPERTS, body=3)
    stops(with_words(bundle, words), ProgramRefused, ErrorCode.OPERAND)


@pytest.mark.parametrize("fields", [
    {"rows": 0}, {"rows": 33}, {"k_tiles": 0}, {"n_tiles": 0}, {"region_beats": 5}, {"group": 1}, {"gap": 1},
], ids=str)
def test_operand_out_of_range(stops, bundle, fields):
    pc = pc_of(bundle, "blocks.0.attn.key")
    stops(changed(bundle, pc, **fields), ProgramRefused, ErrorCode.OPERAND, pc)


@pytest.mark.parametrize("name, step, fields", [
    ("8x8", "blocks.0.attn.key", {}), ("8x16", "blocks.1.moe.gate", {}),
    ("8x16", "blocks.0.attn.mix.head1", {"columns": 8}),
], ids=["one word a tile", "gate", "no column left"])
def test_first_word(boards, tiny_model, tiny_image, name, step, fields):
    """Golden machine and RTL both refuse a row without a stored word, and ``first_word`` where n-tiles are single
    words."""
    bundle = compile_model(tiny_model, config_of(name))
    pc = pc_of(bundle, step)
    for device in (boards(name), GoldenDevice(config_of(name))):
        with Accelerator(device) as accelerator:
            accelerator.load(changed(bundle, pc, first_word=1, **fields))
            with pytest.raises(ProgramRefused, match="OPERAND"):
                accelerator.run_raw(tiny_image, "depth", timeout=0.01)
            assert device.read_register(offset("ERROR_PC")) == pc
            accelerator.reset()


def test_read_outside_the_window(stops, bundle):
    pc = pc_of(bundle, "blocks.0.mlp.fc1")
    stops(changed(bundle, pc, region_offset=1 << 26), BusError, ErrorCode.READ_WINDOW)


def test_write_outside_the_window(stops, bundle):
    pc = pc_of(bundle, "output")
    stops(changed(bundle, pc, region_offset=8192), BusError, ErrorCode.WRITE_WINDOW)  # beyond the second output


def test_unaligned_address(stops, bundle):
    pc = pc_of(bundle, "blocks.0.mlp.fc1")
    stops(changed(bundle, pc, region_offset=4), BusError, ErrorCode.ALIGNMENT)


@pytest.mark.parametrize("kind, error, code", [
    (FaultKind.SLVERR, BusError, ErrorCode.READ_SLAVE), (FaultKind.DECERR, BusError, ErrorCode.READ_DECODE),
    (FaultKind.LAST_EARLY, BusError, ErrorCode.READ_PROTOCOL),
    (FaultKind.LAST_MISSING, BusError, ErrorCode.READ_PROTOCOL),
], ids=lambda value: value.name if isinstance(value, FaultKind) else "")
def test_memory_fails_on_a_read(accelerator, boards, bundle, tiny_image, kind, error, code):
    accelerator.load(bundle)
    weights = accelerator.addresses["weights"]
    tokens = accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    boards(NAME).memory = MemorySettings(fault=Fault(kind=kind, base=weights + 4096, limit=weights + 4224))
    with pytest.raises(error, match=code.name):
        accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    boards(NAME).memory = MemorySettings()
    accelerator.reset()
    np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth", timeout=0.01), tokens)


@pytest.mark.parametrize("kind, code", [
    (FaultKind.SLVERR, ErrorCode.WRITE_SLAVE), (FaultKind.DECERR, ErrorCode.WRITE_DECODE),
], ids=lambda value: value.name if isinstance(value, FaultKind) else "")
def test_memory_fails_on_a_write(accelerator, boards, bundle, tiny_image, kind, code):
    accelerator.load(bundle)
    output = accelerator.addresses["output0"]
    tokens = accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    boards(NAME).memory = MemorySettings(fault=Fault(kind=kind, base=output + 128, limit=output + 136))
    with pytest.raises(BusError, match=code.name):
        accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    boards(NAME).memory = MemorySettings()
    accelerator.reset()
    np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth", timeout=0.01), tokens)


@pytest.mark.parametrize("kind", [FaultKind.NO_ANSWER, FaultKind.NOT_ACCEPTED], ids=lambda kind: kind.name)
def test_memory_never_answers(boards, accelerator, bundle, tiny_image, kind):
    """The watchdog ends the run. A bus that still owes beats needs a hard reset."""
    accelerator.load(bundle)
    board, weights = boards(NAME), accelerator.addresses["weights"]
    tokens = accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    board.memory = MemorySettings(fault=Fault(kind=kind, base=weights + 4096, limit=weights + 8192))
    board.write_register(offset("WATCHDOG"), 2000)
    with pytest.raises(AcceleratorTimeout, match="WATCHDOG|not done|no end"):
        accelerator.run_raw(tiny_image, "depth", timeout=0.001)
    board.memory = MemorySettings()
    board.reset()
    again = Accelerator(board)
    again.load(bundle)
    np.testing.assert_array_equal(again.run_raw(tiny_image, "depth", timeout=0.01), tokens)
    again.close()


def test_a_long_stall_is_no_error(accelerator, boards, bundle, tiny_image):
    accelerator.load(bundle)
    tokens = accelerator.run_raw(tiny_image, "depth", timeout=0.01)
    boards(NAME).memory = MemorySettings(read_latency=20_000)
    np.testing.assert_array_equal(accelerator.run_raw(tiny_image, "depth", timeout=0.1), tokens)
