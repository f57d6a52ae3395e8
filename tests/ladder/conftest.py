# SPDX-License-Identifier: Apache-2.0
"""One simulated board per configuration, shared by the tests of this folder, and the comparison of traces."""

import dataclasses

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.machine.device import GoldenDevice
from moevit.host.runtime import Accelerator
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.settings import MemorySettings
from moevit.spec.arrays import MachineConfig
from moevit.spec.isa import decode
from moevit.spec.quantised import QuantisedModel
from moevit.spec.trace import TraceKind, sort_records

from ..configs import TEST_CONFIGS

QUIET = MemorySettings()
CYCLE_LIMIT = 5_000_000


def config_of(name: str, packed: bool = True) -> MachineConfig:
    return dataclasses.replace(TEST_CONFIGS[name], packed=packed, trace=True)


@pytest.fixture(scope="session")
def boards():
    """``boards(name, packed)``: a board that exists for the session."""
    alive: dict[tuple[str, bool], SimulatedBoard] = {}

    def board(name: str, packed: bool = True) -> SimulatedBoard:
        if (name, packed) not in alive:
            alive[name, packed] = SimulatedBoard(config_of(name, packed), memory_bytes=1 << 26, cycle_limit=CYCLE_LIMIT)
        alive[name, packed].memory = QUIET
        return alive[name, packed]

    yield board
    for each in alive.values():
        each.close()


class Pair:
    """A golden machine and a simulated board with the same bundle loaded."""

    def __init__(self, board: SimulatedBoard, model: QuantisedModel, config: MachineConfig, batch: int,
                 speculate: int | None):
        self.board, self.golden_device = board, GoldenDevice(config)
        bundle = compile_model(model, config, batch=batch, speculate=speculate)
        self.names = [entry["name"] for entry in bundle.manifest["instructions"]]
        self.rtl, self.golden = Accelerator(board), Accelerator(self.golden_device)
        self.rtl.load(bundle)
        self.golden.load(bundle)

    def close(self) -> None:
        self.rtl.close()

    def run(self, image: np.ndarray, task: str) -> np.ndarray:
        """Run both and return the tokens. Every stored word, every decision and every common counter must be equal.

        Only the RTL fetches early, so it may read up to ``idle_bytes`` more than the golden machine.
        """
        self.board.clear_records()
        want = self.golden.run_raw(image, task)
        got = self.rtl.run_raw(image, task, timeout=10)
        compare_traces(sort_records(self.board.trace()), sort_records(self.golden_device.last.records), self)
        np.testing.assert_array_equal(got, want)
        for name in ("MACS", "BYTES_WRITTEN", "SATURATED"):
            assert self.rtl.report.counters[name] == self.golden.report.counters[name], name
        assert 0 <= self.surplus_bytes <= self.idle_bytes
        counters = self.rtl.report.counters
        assert sum(self.rtl.report.stalls.values()) == counters["CYCLES"]
        log = [(each.name, each.expert, each.rows) for each in self.rtl.report.passes]
        assert log == [(each.name, each.expert, each.rows) for each in self.golden.report.passes]
        return got


    @property
    def surplus_bytes(self) -> int:
        """The bytes that the RTL read beyond the golden machine in the last run."""
        return self.rtl.report.counters["BYTES_READ"] - self.golden.report.counters["BYTES_READ"]

    @property
    def idle_bytes(self) -> int:
        """The bytes of experts that may be fetched early and had no tokens in the last run."""
        program, ran = self.program, {(done.pc, done.expert) for done in self.golden_device.last.finished}
        beats = [program[inner]["region_beats"] for pc, fields in enumerate(program) if "body" in fields
                 for inner in range(pc + 1, pc + 1 + fields["body"]) for expert in range(fields["speculate"])
                 if (inner, expert) not in ran]
        return sum(beats) * self.rtl.bundle.manifest["bus_bytes"]

    @property
    def program(self) -> list[dict[str, int]]:
        """The fields of every instruction."""
        return [decode(words) for words in np.frombuffer(self.rtl.bundle.program, "<u4").reshape(-1, 16)]


def compare_traces(got: np.ndarray, want: np.ndarray, pair: Pair) -> None:
    """Fail with the first instruction, memory and word in which the traces differ."""
    finished = pair.golden_device.last.finished
    for sequence in np.unique(want["sequence"]):
        for kind in TraceKind:
            mine, theirs = (part[(part["sequence"] == sequence) & (part["kind"] == kind)] for part in (got, want))
            if np.array_equal(mine, theirs):
                continue
            where = f"instruction {sequence} ({pair.names[finished[sequence].pc]}), {kind.name}"
            assert len(mine) == len(theirs), f"{where}: {len(mine)} records, expected {len(theirs)}"
            first = int(np.argmax([not np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True)]))
            raise AssertionError(f"{where}: first of {np.count_nonzero(mine != theirs)} different records\n"
                                 f"RTL    {mine[first]}\ngolden {theirs[first]}")
    assert len(got) == len(want), f"{len(got)} records, expected {len(want)}"


@pytest.fixture
def pair(boards):
    """``pair(model, config name, packed, batch, speculate)``. Its memory is freed after the test."""
    made: list[Pair] = []

    def make(model: QuantisedModel, name: str, packed: bool = True, batch: int = 1,
             speculate: int | None = None) -> Pair:
        made.append(Pair(boards(name, packed), model, config_of(name, packed), batch, speculate))
        return made[-1]

    yield make
    for each in made:
        each.close()
