# SPDX-License-Identifier: Apache-2.0
"""The whole machine on random programs: every kind of pass, in sizes that no network has."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Shape

from moevit.golden.machine.device import GoldenDevice
from moevit.hw.layouts import trace_layout
from moevit.hw.top import Core
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.settings import Fault, FaultKind, MemorySettings
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import (
    Destination,
    Opcode,
    Region,
    decode,
)
from moevit.spec.registers import BITS, ErrorCode, offset
from moevit.spec.trace import record_dtype, sort_records

from ..configs import TEST_CONFIGS
from .random_program import OUTPUT_BYTES, Program


def execute(device, program, settings=(), prepare=lambda buffers: None):
    """Run on a device; ``prepare`` sees the buffers first. Returns the output and what the error registers say."""
    def write(name, value):
        device.write_register(offset(f"{name}_LOW"), value & 0xFFFF_FFFF)
        device.write_register(offset(f"{name}_HIGH"), value >> 32)

    words = np.concatenate(program.words).astype("<u4").tobytes()
    buffers = {}
    for name, content in (("PROGRAM", words), ("WEIGHTS", program.regions[Region.WEIGHTS]),
                          ("GATES", program.regions[Region.GATES]), ("IMAGE", program.image),
                          ("OUTPUT", bytes(OUTPUT_BYTES))):
        buffers[name] = buffer = device.allocate(max(len(content), 64))
        buffer.array[:len(content)] = np.frombuffer(bytes(content), np.uint8)
        buffer.flush()
        write(name, buffer.address)
    device.write_register(offset("PROGRAM_LENGTH"), len(words) // 64)
    output = buffers["OUTPUT"]
    for kind, part in (("READ", list(buffers.values())[:-1]), ("WRITE", [output])):
        write(f"{kind}_BASE", min(buffer.address for buffer in part))
        write(f"{kind}_LIMIT", max(buffer.address + len(buffer.array) for buffer in part))
    device.write_register(offset("WATCHDOG"), 2000)
    device.write_register(offset("INTERRUPT_ENABLE"), 3)
    device.write_register(offset("INTERRUPT_GLOBAL"), 1)
    for name, value in settings:
        device.write_register(offset(name), value)
    prepare(buffers)
    device.write_register(offset("INTERRUPT_STATUS"), 3)
    device.write_register(offset("CONTROL"), 1 << BITS["START"])
    device.wait(0.01)
    output.invalidate()
    content = output.array.copy()
    for buffer in buffers.values():
        buffer.free()
    return content, {name: device.read_register(offset(name)) for name in ("ERROR_CODE", "ERROR_PC", "FINISHED")}


@pytest.fixture(scope="module")
def machines():
    """``machines(name)``: a board and a golden machine that live as long as the tests of this file.

    They must run the same programs, since what a program leaves in their memories stays.
    """
    alive = {}

    def pair(name):
        if name not in alive:
            config = dataclasses.replace(TEST_CONFIGS[name], trace=True)
            alive[name] = SimulatedBoard(config, memory_bytes=1 << 20), GoldenDevice(config)
        alive[name][0].memory = MemorySettings()
        return alive[name]

    yield pair
    for board, _ in alive.values():
        board.close()


@pytest.mark.parametrize("name", ["8x8", "8x16", "8x8_wide"])
@pytest.mark.parametrize("first", range(0, 24, 4))
def test_random_programs(machines, name, first):
    """Output, error and every stored word as the golden machine has them."""
    board, golden = machines(name)
    board.memory = MemorySettings(stall=0.3, seed=first) if first % 8 else MemorySettings(read_latency=20)
    for seed in range(first, first + 4):
        program = Program(TEST_CONFIGS[name], seed).write(4)
        board.clear_records()
        expected, found = (execute(device, program) for device in (golden, board))
        assert found[1] == expected[1] and not found[1]["ERROR_CODE"], program.names
        mine, theirs = sort_records(board.trace()), sort_records(golden.last.records)
        wrong = [index for index, (a, b) in enumerate(zip(mine, theirs, strict=False)) if not np.array_equal(a, b)]
        assert not wrong, f"seed {seed}: {mine[wrong[0]]} instead of {theirs[wrong[0]]}"
        assert len(mine) == len(theirs)
        np.testing.assert_array_equal(found[0], expected[0])


@pytest.fixture
def board():
    with SimulatedBoard(dataclasses.replace(CONFIGS["8x8"], trace=True), memory_bytes=1 << 20) as board:
        yield board


def test_errors_name_the_instruction(board):
    """A write and a read outside their windows: the code, and whose fault it is."""
    program = Program(CONFIGS["8x8"], 1)
    program.feed_forward()
    program.add(opcode=Opcode.STORE, rows=1, k_tiles=1, region_offset=OUTPUT_BYTES)
    program.add(opcode=Opcode.END)
    _, errors = execute(board, program)
    assert errors["ERROR_CODE"] == ErrorCode.WRITE_WINDOW and errors["ERROR_PC"] == len(program.words) - 2

    program = Program(CONFIGS["8x8"], 2)
    program.feed_forward()
    at = len(program.words)
    program.run(program.load(2, 1), Destination.HIDDEN, n_tiles=1)
    program.words[at + 1][1:2] = 1 << 30  # region_offset
    program.add(opcode=Opcode.END)
    _, errors = execute(board, program)
    assert errors["ERROR_CODE"] == ErrorCode.READ_WINDOW and errors["ERROR_PC"] == at + 1


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_memory_errors_name_the_instruction(board, share):
    """Beats come far ahead of execution; an error is still that of the instruction whose beats they are."""
    program = Program(CONFIGS["8x8"], 4).write(3)
    fields = [decode(words) for words in program.words]
    streamed = [pc for pc, each in enumerate(fields) if each.get("region") == Region.WEIGHTS and pc]
    for pc in streamed[::3]:
        at = fields[pc]["region_offset"] + 8 * int(share * (fields[pc]["region_beats"] - 1))

        def fail(buffers, at=at):
            first = buffers["WEIGHTS"].address + at
            board.memory = MemorySettings(fault=Fault(kind=FaultKind.SLVERR, base=first, limit=first + 8))

        _, errors = execute(board, program, prepare=fail)
        if fields[pc].get("queued"):  # nobody may have chosen this expert
            continue
        assert (errors["ERROR_CODE"], errors["ERROR_PC"]) == (ErrorCode.READ_SLAVE, pc)


def test_standstill(board):
    """A memory that takes no address: the watchdog names the instruction that waits for it."""
    program = Program(CONFIGS["8x8"], 5)
    program.feed_forward()
    program.add(opcode=Opcode.END)
    at = decode(program.words[2])["region_offset"]

    def fail(buffers):
        first = buffers["WEIGHTS"].address + at
        board.memory = MemorySettings(fault=Fault(kind=FaultKind.NO_ANSWER, base=first, limit=first + 8))

    _, errors = execute(board, program, prepare=fail)
    assert (errors["ERROR_CODE"], errors["ERROR_PC"]) == (ErrorCode.WATCHDOG, 2)
    assert not board.read_register(offset("CONTROL")) >> BITS["IDLE"] & 1, "the bus still owes beats"


def test_reset_in_the_middle(board):
    """After a RESET at any time a program gives what it gives otherwise."""
    program = Program(CONFIGS["8x8"], 6)
    program.feed_forward()  # reads nothing but what it wrote
    result = decode(program.words[-1])
    program.add(opcode=Opcode.LOAD, rows=result["rows"], k_tiles=result["destination_stride"],
                destination_base=result["destination_base"],
                **program.region(program.s16(result["rows"] * result["destination_stride"] * 8).tobytes()))
    program.words[-2:] = program.words[:-3:-1]  # the rows that are added to come first
    program.add(opcode=Opcode.STORE, rows=result["rows"], k_tiles=result["destination_stride"],
                source_base=result["destination_base"], source_stride=result["destination_stride"])
    program.add(opcode=Opcode.END)
    expected = execute(board, program)
    assert not expected[1]["ERROR_CODE"]
    cycles = board.read_register(offset("CYCLES_LOW"))

    for seed in range(40):
        def interrupt(_, seed=seed):
            board.memory = MemorySettings(stall=0.3, seed=seed)
            board.write_register(offset("CONTROL"), 1 << BITS["START"])
            board.run(int(np.random.default_rng(seed).integers(1, 2 * cycles)))
            board.write_register(offset("CONTROL"), 1 << BITS["RESET"])
            while not board.read_register(offset("CONTROL")) >> BITS["RESET_DONE"] & 1:
                board.run(10)

        output, errors = execute(board, program, prepare=interrupt)
        assert errors == expected[1]
        np.testing.assert_array_equal(output, expected[0])


def test_stop_after(board):
    program = Program(CONFIGS["8x8"], 3).write(2)
    _, errors = execute(board, program, [("STOP_AFTER", 3)])
    assert errors == {"ERROR_CODE": 0, "ERROR_PC": 0, "FINISHED": 3}


def test_trace_ports_only_when_asked_for(unused_allowed):
    for trace in (False, True):
        config = dataclasses.replace(CONFIGS["8x16"], trace=trace)
        names = set(Core(config).signature.members)
        traces = {"trace_writer", "trace_reader", "trace_router"}
        assert names == {"control", "read", "write", "interrupt"} | (traces if trace else set())
        assert Shape.cast(trace_layout(config)).width == 8 * record_dtype(config.k_lanes).itemsize


def test_refuses_what_is_not_a_configuration(unused_allowed):
    with pytest.raises(TypeError, match="'8x8'"):
        Core("8x8")
