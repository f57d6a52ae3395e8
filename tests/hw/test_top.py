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
    Operand,
    Peak,
    Region,
    RowSource,
    Saturation,
    WeightSource,
    decode,
    encode,
)
from moevit.spec.registers import BITS, ErrorCode, offset
from moevit.spec.trace import record_dtype, sort_records

from ..configs import TEST_CONFIGS

OUTPUT_BYTES = 8192


class Program:
    """Random instructions that depend on each other as those of a network do, and the bytes that they stream."""

    def __init__(self, config, seed):
        print(f"{config.name}, seed {seed}")
        self.config, self.random = config, np.random.default_rng(seed)
        self.words, self.image = [], bytearray()
        self.regions = {Region.WEIGHTS: bytearray(), Region.GATES: bytearray()}
        self.names = []
        self.stored = 0
        self.tops = {}

    def between(self, low, high):
        return int(self.random.integers(low, high + 1))

    def chance(self, share=0.5):
        return int(self.random.random() < share)

    def place(self, memory, words):
        """Room for ``words`` in a memory, apart from what this phrase uses already."""
        first = self.tops.get(memory, 0) + self.between(0, 3)
        self.tops[memory] = first + words
        return first

    def add(self, **fields):
        self.names.append(Opcode(fields["opcode"]).name)
        self.words.append(encode(**fields))

    def region(self, content, region=Region.WEIGHTS):
        """Bytes for a region, and the fields that name them."""
        size = self.config.bus_bytes
        at = len(self.regions[region])
        self.regions[region] += content
        assert not len(content) % size
        return {"region": region, "region_offset": at, "region_beats": len(content) // size}

    def s16(self, *shape):
        return self.random.integers(-32768, 32768, shape).astype("<i2")

    def load(self, rows, k, small=False):
        copies, stride = self.chance(0.3) * self.between(1, 2), rows * k + self.between(0, 3)
        base = self.place("residual", copies * stride + rows * k)
        content = self.s16(rows * k, self.config.k_lanes)
        if small:  # within what a norm sees in a network
            content >>= self.between(0, 8)
        self.add(opcode=Opcode.LOAD, rows=rows, k_tiles=k, destination_base=base, copies=copies,
                 destination_stride=stride, **self.region(content.tobytes()))
        return {"rows": rows, "k_tiles": k, "source": RowSource.RESIDUAL,
                "source_base": base + self.between(0, copies) * stride, "source_stride": k}

    def norm(self, source):
        """Statistics of rows whose lanes beyond dim are zero because all are used."""
        dim = source["k_tiles"] * self.config.k_lanes
        gain = self.s16(dim)
        rows = {name: source[name] for name in ("rows", "k_tiles", "source_base", "source_stride")}
        copy = {"copy": 1, "destination_base": self.place("residual", rows["rows"] * rows["k_tiles"])} \
            if self.chance() else {}
        self.add(opcode=Opcode.NORM, dim=dim, inverse_dim=(1 << 24) // dim, epsilon=self.between(1, 1 << 20), **rows,
                 **copy, **self.region(gain.tobytes()))
        return source | {"operand": Operand.NORM}

    def tiles(self, n_tiles, k_tiles, constant=0, experts=1, region=Region.WEIGHTS):
        """Column parameters and tiles of a pass, for each expert."""
        size, content = self.config.n_lanes, b""
        for _ in range(n_tiles * experts):
            if not constant:
                columns = np.stack([self.random.integers(0, 65536, size).astype(np.uint16),
                                    self.s16(size).view(np.uint16)], axis=1)
                content += columns.astype("<u2").tobytes()
            content += self.random.integers(-127, 128, (k_tiles * self.config.k_lanes, size)).astype(np.int8).tobytes()
        fields = self.region(content, region)
        beats = fields["region_beats"] // experts
        return fields | {"region_beats": beats} | ({"expert_beats": beats} if experts > 1 else {})

    def run(self, source, destination, *, n_tiles=None, experts=1, overlap=0, tiles=None, region=Region.WEIGHTS,
            **fields):
        """A PASS; returns how to read what it wrote."""
        lanes, wide = self.config.k_lanes, self.config.n_lanes
        n_tiles = n_tiles or self.between(1, 3)
        columns = fields.pop("columns", None) or self.between((n_tiles - 1) * wide + 1, n_tiles * wide)
        words = -(-columns // lanes)
        rows = fields.pop("most_rows", source["rows"])
        memory, room, stride = {
            Destination.RESIDUAL: ("residual", rows * words, words),
            Destination.HIDDEN: ("hidden", rows * words, words),
            Destination.KEYS: ("kv", words * 32, 32),
            Destination.VALUES: ("kv", n_tiles * 32, 32),
            Destination.ROUTER: ("router", 0, 0),
        }[destination]
        base = self.place(memory, room)
        if tiles is None:
            constant = self.chance(0.3) if destination != Destination.ROUTER else 0
            k_tiles = source["k_tiles"] * (self.config.gate_sweeps if fields.get("digits") else 1)
            tiles = self.tiles(n_tiles, k_tiles, constant, experts, region)
            tiles |= {"constant": constant, "constant_scale": self.between(1, 65535) * constant}
        defaults = {"shift": self.between(16, 40), "activation": self.chance(0.4) * self.between(1, 2),
                    "saturation": self.between(0, 2)}
        if destination in (Destination.KEYS, Destination.VALUES):
            defaults["saturation"] = Saturation.WEIGHT
        if destination == Destination.ROUTER:
            defaults = {"shift": self.between(20, 30)}
        self.add(opcode=Opcode.PASS, destination=destination, destination_base=base, destination_stride=stride,
                 n_tiles=n_tiles, columns=columns, overlap=overlap, **tiles, **{**defaults, **source, **fields})
        return {"rows": source["rows"], "k_tiles": words, "source": RowSource(destination == Destination.HIDDEN),
                "source_base": base, "source_stride": words}

    def tracked(self, source, peak, **fields):
        """A PASS into the hidden memory whose peaks the next pass needs."""
        at = self.between(0, 4 * self.config.max_tokens - 32)
        written = self.run(source, Destination.HIDDEN, peak=peak, peak_first=1, destination_peak=at, **fields)
        return written | {"source_peak": at}

    # Phrases.

    def begin(self):
        self.tops = {}

    def feed_forward(self):
        self.begin()
        normed = self.norm(self.load(self.between(1, 12), self.between(1, 3), small=True))
        hidden = self.tracked(normed, Peak.ABSOLUTE)
        self.run(hidden | {"operand": Operand.ROW}, Destination.RESIDUAL,
                 region=Region.GATES if self.chance() else Region.WEIGHTS)

    def attention(self):
        self.begin()
        rows, k = self.between(1, 20), self.between(1, 2)
        normed = self.norm(self.load(rows, k, small=True))
        lanes, wide = self.config.k_lanes, self.config.n_lanes
        head = self.between(1, 2)  # words
        tiles_of_keys, tiles_of_head = -(-rows // wide), -(-head * lanes // wide)
        self.run(normed, Destination.KEYS, n_tiles=tiles_of_head, columns=head * lanes)
        keys = self.tops["kv"] - head * 32
        query = self.run(normed, Destination.HIDDEN, n_tiles=tiles_of_head, columns=head * lanes, overlap=1,
                         saturation=Saturation.OPERAND)
        value = tiles_of_head * wide
        self.run(normed, Destination.VALUES, n_tiles=tiles_of_head, columns=value, overlap=2)
        values = self.tops["kv"] - tiles_of_head * 32
        constant = {"constant": 1, "constant_scale": self.between(1, 65535), "activation": 0}
        logits = self.tracked(query, Peak.MAXIMUM, n_tiles=tiles_of_keys, columns=rows, overlap=1, tiles={
            "weights": WeightSource.KEYS, "kv_base": keys, "kv_k_stride": 32, "kv_n_stride": lanes},
            saturation=Saturation.ROW, **constant)
        mixed = self.tracked(logits | {"operand": Operand.EXP}, Peak.ABSOLUTE, n_tiles=tiles_of_head,
                             columns=head * lanes, keys=rows, tiles={
            "weights": WeightSource.VALUES, "kv_base": values, "kv_k_stride": lanes, "kv_n_stride": 32}, **constant)
        self.run(mixed | {"operand": Operand.ROW}, Destination.RESIDUAL)

    def experts(self):
        self.begin()
        rows, experts = self.between(1, 16), self.between(1, self.config.max_experts)
        normed = self.norm(self.load(rows, self.between(1, 2), small=True))
        biased = self.chance()
        if biased:
            self.run(normed | {"operand": Operand.RAW, "rows": 1, "k_tiles": 1}, Destination.ROUTER, n_tiles=1,
                     columns=experts, top_k=1, sets_bias=1, overlap=1,
                     tiles=self.tiles(1, 0, region=Region.GATES) | {"weights": WeightSource.VALUES})
        self.run(normed, Destination.ROUTER, n_tiles=1, columns=experts, digits=1, top_k=self.between(1, experts),
                 renormalise=self.chance(), sigmoid=self.chance(), biased=biased, overlap=biased, region=Region.GATES)
        self.add(opcode=Opcode.EXPERTS, body=2)
        queued = {"queued": 1, "experts": experts, "most_rows": rows}
        hidden = self.tracked(normed | {"rows": 0}, Peak.ABSOLUTE, gather=1, overlap=self.chance(), **queued)
        self.run(hidden | {"operand": Operand.ROW}, Destination.RESIDUAL, scatter=1, score=self.chance(0.7), **queued)

    def picture(self):
        self.begin()
        across, down, patch, segment = self.between(1, 3), self.between(1, 3), self.between(1, 5), self.between(1, 4)
        size = self.config.bus_bytes
        content = self.random.integers(0, 256, across * down * patch * segment * 8, dtype=np.uint8).tobytes()
        content += bytes(-len(content) % size)
        k, rows = -(-patch * segment * 8 // self.config.k_lanes), across * down
        base, at = self.place("hidden", rows * k), len(self.image)
        self.image += content
        self.add(opcode=Opcode.IMAGE, region=Region.IMAGE, region_offset=at, region_beats=len(content) // size,
                 rows=rows, patch=patch, segment=segment, patches_x=across, destination_base=base,
                 destination_stride=k)
        self.run({"rows": rows, "k_tiles": k, "source": RowSource.HIDDEN, "source_base": base, "source_stride": k},
                 Destination.RESIDUAL)

    def store(self):
        rows, k = self.between(1, 12), self.between(1, 4)
        self.add(opcode=Opcode.STORE, rows=rows, k_tiles=k, source_base=self.between(0, 100),
                 source_stride=self.between(0, 10), region_offset=self.stored)
        self.stored += rows * k * self.config.k_lanes * 2

    def write(self, phrases):
        for phrase in self.random.choice([self.feed_forward, self.attention, self.experts, self.picture], phrases):
            phrase()
            self.store()
        self.add(opcode=Opcode.END)
        assert self.stored <= OUTPUT_BYTES
        return self


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
