# SPDX-License-Identifier: Apache-2.0
"""The example machine on a simulated board."""

import numpy as np
import pytest

from moevit.rtl_gen.generate import generate
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.testbench import bench
from moevit.spec.registers import offset

from .example import CopyMachine

BUS_BYTES = 16


@pytest.fixture(scope="session")
def design():
    return bench(generate(CopyMachine(BUS_BYTES), "copy"))


@pytest.fixture(scope="session")
def shared_board(design):
    with SimulatedBoard(design) as board:
        yield board


@pytest.fixture
def board(shared_board):
    """A board as new: one simulator serves many tests."""
    from moevit.sim.verilator.settings import MemorySettings

    shared_board.memory = MemorySettings()
    shared_board.reset()
    shared_board.clear_records()
    return shared_board


class Copy:
    """Two buffers and the registers that make the machine copy one into the other."""

    def __init__(self, board, size, seed=1):
        self.board, self.size = board, size
        self.source, self.destination = board.allocate(size), board.allocate(size)
        self.source.array[:] = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
        self.source.flush()

    def start(self):
        for name, value in (("INTERRUPT_STATUS", 1), ("WEIGHTS_LOW", self.source.address), ("WEIGHTS_HIGH", 0),
                            ("OUTPUT_LOW", self.destination.address), ("OUTPUT_HIGH", 0),
                            ("PROGRAM_LENGTH", self.size // BUS_BYTES), ("CONTROL", 1)):
            self.board.write_register(offset(name), value)

    def run(self, timeout=1e-2):
        self.start()
        self.board.wait(timeout)
        self.destination.invalidate()
        return self.destination.array

    def cycles(self):
        """From the first burst to the interrupt."""
        self.board.clear_records()
        self.run()
        return self.board.cycles - int(self.board.bursts()["cycle"][0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.source.free()
        self.destination.free()


@pytest.fixture
def copy_of(board):
    """``copy_of(size)``: a copy of ``size`` bytes on ``board``, freed at the end."""
    made = []

    def make(size, seed=1):
        made.append(Copy(board, size, seed))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()
