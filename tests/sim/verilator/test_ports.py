# SPDX-License-Identifier: Apache-2.0
"""A machine with two ports: both simulated memories and cocotbext-axi's see one memory."""

from pathlib import Path

import numpy as np
import pytest

from moevit.rtl_gen.generate import generate
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.cocotb_run import run_cocotb
from moevit.sim.verilator.records import beat_counts
from moevit.sim.verilator.settings import Fault, FaultKind, MemorySettings
from moevit.sim.verilator.testbench import bench

from ..conftest import BUS_BYTES, Copy
from ..example import SpreadCopyMachine

pytestmark = pytest.mark.timeout(300)

PORT_BYTES = BUS_BYTES // 2
BLOCK = 16 * PORT_BYTES


@pytest.fixture(scope="module")
def rtl():
    return generate(SpreadCopyMachine(BUS_BYTES), "spread_copy")


@pytest.fixture(scope="module")
def board(rtl):
    with SimulatedBoard(bench(rtl), trace=False) as made:
        yield made


@pytest.fixture
def copy(board):
    board.memory = MemorySettings()
    board.reset()
    board.clear_records()
    with Copy(board, 1 << 14) as made:
        yield made


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_copies_every_byte_once(copy, stall):
    before = copy.board.bytes_moved
    copy.board.memory = MemorySettings(stall=stall, seed=3)
    assert (copy.run() == copy.source.array).all()
    assert [now - then for now, then in zip(copy.board.bytes_moved, before, strict=True)] == [copy.size, copy.size]
    bursts = copy.board.bursts()
    for write, buffer in ((False, copy.source), (True, copy.destination)):
        assert (beat_counts(bursts, PORT_BYTES, buffer.address, copy.size, write=write) == 1).all()
    assert (bursts["beats"] == 16).all() and (bursts["address"] % BLOCK == 0).all()


@pytest.mark.parametrize("bandwidth", [0.25, 1])
def test_the_ports_share_the_bandwidth(copy, bandwidth):
    """Each port moves the bandwidth in its own beats, so together they move it in bus beats."""
    copy.board.memory = MemorySettings(bandwidth=bandwidth)
    assert copy.cycles() == pytest.approx(2 * copy.size / BUS_BYTES / bandwidth, rel=0.08)


@pytest.mark.parametrize("port", [0, 1])
def test_a_fault_is_at_its_address(copy, port):
    at = copy.source.address + 10 * BLOCK + port * BLOCK + PORT_BYTES
    copy.board.memory = MemorySettings(fault=Fault(kind=FaultKind.SLVERR, base=at, limit=at + PORT_BYTES, writes=False))
    wrong = np.flatnonzero(copy.run() != copy.source.array) + copy.source.address
    assert wrong.min() >= at and wrong.max() < at + PORT_BYTES


@pytest.mark.parametrize("pause, seed", [(0.0, 1), (0.4, 2)])
def test_between_models_of_memory(rtl, pause, seed):
    environment = {"PAUSE": str(pause), "MANAGERS": " ".join(rtl.table.managers)}
    assert run_cocotb(rtl, Path(__file__).parent / "copy_bench.py", seed=seed, environment=environment) == 2
