# SPDX-License-Identifier: Apache-2.0
"""The simulated board with the example machine: end to end, timing, records, errors, its process."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moevit.host.errors import AcceleratorTimeout, BusError, OutOfContiguousMemory, SimulationError
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.verilator.records import beat_counts
from moevit.spec.registers import BITS, offset

from ..conftest import BUS_BYTES, Copy
from ..example import FAULT, FAULTS, SILENT

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("seed", range(3))
def test_copies(copy_of, seed):
    copy = copy_of(8192, seed)
    assert (copy.run() == copy.source.array).all(), f"seed {seed}"
    assert copy.board.irq
    assert copy.board.read_register(offset("CONTROL")) >> BITS["DONE"] & 1


def test_an_ended_run_is_seen_without_interrupt(copy_of):
    copy = copy_of(4096)
    copy.start()
    copy.board.run(5000)
    copy.board.write_register(offset("INTERRUPT_STATUS"), 1)
    assert not copy.board.irq
    copy.board.wait(1e-3)


def test_a_forgotten_flush_or_invalidate_shows(copy_of):
    copy = copy_of(4096)
    copy.run()
    flushed = copy.source.array.copy()
    copy.source.array[:] = 7
    assert (copy.run() == flushed).all()  # the machine saw what was flushed
    copy.source.flush()
    copy.start()
    copy.board.wait(1e-2)
    assert (copy.destination.array == flushed).all()  # the host saw what was invalidated
    copy.destination.invalidate()
    assert (copy.destination.array == 7).all()


def test_new_memory_holds_noise(board):
    buffer = board.allocate(100)
    assert buffer.address % 4096 == 0
    assert not buffer.array.any()
    buffer.invalidate()
    assert (buffer.array == 0xA5).all()
    buffer.free()
    buffer.free()


def test_memory_runs_out_and_comes_back(board):
    with pytest.raises(OutOfContiguousMemory, match="free") as caught:
        board.allocate(1 << 40)
    assert isinstance(caught.value, MemoryError)
    assert caught.value.state["free"] == 1 << 28
    buffers = [board.allocate(size) for size in (1, 5000, 4096)]
    middle = buffers[1].address
    buffers[1].free()
    with pytest.raises(ValueError, match="freed"):
        buffers[1].flush()
    buffers[1] = board.allocate(8192)
    assert buffers[1].address == middle
    for buffer in buffers:
        buffer.free()


def test_timeout_says_how_long(copy_of):
    copy = copy_of(8192)
    copy.start()
    with pytest.raises(AcceleratorTimeout, match="300 cycles") as caught:
        copy.board.wait(1e-6)
    assert isinstance(caught.value, TimeoutError)
    copy.board.wait(1e-2)


def test_bursts_tell_what_was_read_how_often(copy_of):
    copy = copy_of(4096)
    copy.run()
    copy.run()
    bursts = copy.board.bursts()
    reads = beat_counts(bursts, BUS_BYTES, copy.source.address - 4096, 3 * 4096)
    assert (reads == np.repeat([0, 2, 0], 256)).all()
    writes = beat_counts(bursts, BUS_BYTES, copy.destination.address, 4096, write=True)
    assert (writes == 2).all()
    assert (np.diff(bursts["cycle"].astype(np.int64)) >= 0).all()
    copy.board.clear_records()
    assert len(copy.board.bursts()) == len(copy.board.trace()) == 0


def test_bytes_are_counted(copy_of):
    copy = copy_of(4096)
    before = np.array(copy.board.bytes_moved)
    copy.run()
    assert (np.array(copy.board.bytes_moved) - before == 4096).all()


def test_trace_records_every_beat(copy_of):
    copy = copy_of(4096)
    copy.run()
    layout = np.dtype([("kind", "u1"), ("sequence", "<u2"), ("address", "<u4"), ("data", "u1", BUS_BYTES)])
    records = copy.board.trace().view(layout)
    assert (records["kind"] == 7).all()
    assert (records["address"] == copy.destination.address + BUS_BYTES * np.arange(256)).all()
    assert (records["data"].ravel() == copy.source.array).all()


def test_an_unanswered_register_is_an_error(board):
    with pytest.raises(BusError, match="no answer"):
        board.read_register(SILENT)


@pytest.mark.parametrize("fault, rule", [
    ("crosses", "cross a 4 KiB boundary"), ("long", "32 beats, more than 16"), ("drops", "AR: VALID fell"),
    ("changes", "AR: payload changed"), ("last", "WLAST is 1 on beat 15"), ("unaligned", "not aligned"),
])
def test_broken_rules_end_the_simulation(design, fault, rule):
    with SimulatedBoard(design) as board, Copy(board, 8192) as copy:
        from moevit.sim.verilator.settings import MemorySettings
        board.memory = MemorySettings(outstanding=1)
        board.write_register(FAULT, FAULTS.index(fault))
        with pytest.raises(SimulationError, match=f"AXI rule: cycle [0-9]+: .*{rule}"):
            copy.run()
        with pytest.raises(SimulationError, match="closed"):
            board.read_register(0)


def test_a_killed_simulator_is_an_error(design):
    with SimulatedBoard(design) as board:
        os.kill(board.pid, signal.SIGKILL)
        with pytest.raises(SimulationError, match="ended with -9"):
            board.run(100)
    assert not board.directory.exists()


def test_the_simulator_ends_with_its_parent(tmp_path):
    """Even if the process is killed in the middle of a wait."""
    script = ("import sys; sys.path.insert(0, 'tests/sim');"
              "from example import CopyMachine; from moevit.rtl_gen.generate import generate;"
              "from moevit.sim.verilator.testbench import bench;"
              "from moevit.sim.board.simulated_board import SimulatedBoard;"
              "board = SimulatedBoard(bench(generate(CopyMachine(16), 'copy')), "
              f"keep=__import__('pathlib').Path({str(tmp_path)!r}));"
              "print(board.pid, flush=True); board.run(10**9)")
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the simulator outlived its parent"
        time.sleep(0.1)


def test_progress_is_told(design):
    told = []
    with SimulatedBoard(design, progress=told.append) as board:
        board.run(1_500_000)
    assert told == sorted(told)
    assert told and told[-1] <= 1_500_000


def test_an_interrupted_wait_leaves_the_board_usable(design):
    def interrupt(cycles):
        raise KeyboardInterrupt

    with SimulatedBoard(design, progress=interrupt) as board:
        with pytest.raises(KeyboardInterrupt):
            board.run(10**9)
        assert board.read_register(offset("CONTROL")) >> BITS["IDLE"] & 1


def test_interrupted_twice_the_simulator_ends(design, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with SimulatedBoard(design) as board:
        monkeypatch.setattr(board._process, "_answer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            board.run(10**9)
        monkeypatch.undo()
        with pytest.raises(SimulationError, match="closed"):
            board.read_register(offset("CONTROL"))


def test_progress_may_fail_but_ask_nothing(design):
    def fail(cycles):
        raise RuntimeError("no more")

    with SimulatedBoard(design, progress=fail) as board:
        with pytest.raises(RuntimeError, match="no more"):
            board.run(10**9)
        assert board.read_register(offset("CONTROL")) >> BITS["IDLE"] & 1
    with SimulatedBoard(design, progress=lambda cycles: board.cycles) as board:
        with pytest.raises(SimulationError, match="counters was asked while this thread waits"):
            board.run(10**9)


def test_closed_meanwhile(design):
    with SimulatedBoard(design) as board, ThreadPoolExecutor(1) as pool:
        running = pool.submit(board.run, 10**9)
        time.sleep(0.5)
        board._process.kill()
        with pytest.raises(SimulationError):
            running.result(60)


def test_threads_take_turns(design):
    """Each thread gets the answers to its own questions."""
    with SimulatedBoard(design) as board, ThreadPoolExecutor(4) as pool:
        for at in range(4):
            board.write_register(offset("PROGRAM_LOW") + 8 * at, 1000 + at)
        kept = [board.read_register(offset("PROGRAM_LOW") + 8 * at) for at in range(4)]
        places = [offset("PROGRAM_LOW") + 8 * (each % 4) for each in range(200)]
        assert list(pool.map(board.read_register, places)) == 50 * kept and len(set(kept)) > 1


def test_waves(design, tmp_path):
    path = tmp_path / "waves.vcd"
    with SimulatedBoard(design, waves=path) as board, Copy(board, 4096) as copy:
        copy.run()
    text = path.read_text()
    assert "$enddefinitions" in text
    assert "m_axi_araddr" in text


def test_keep_keeps_the_records(design, tmp_path):
    with SimulatedBoard(design, keep=tmp_path) as board, Copy(board, 4096) as copy:
        copy.run()
    assert {path.name for path in tmp_path.iterdir()} >= {"simulator.log", "bursts.bin", "trace.bin"}
    assert not (tmp_path / "memory.bin").exists()


def test_a_simulator_that_does_not_start_is_an_error(design, monkeypatch, tmp_path):
    from moevit.sim.verilator.build import Simulation

    environment = Simulation.environment
    monkeypatch.setattr(Simulation, "environment", lambda self, module, seed=None: environment(self, "no.such.module"))
    with pytest.raises(SimulationError, match="(?s)the simulator ended.*no.such|No module"):
        SimulatedBoard(design, keep=tmp_path)
    assert not (tmp_path / "memory.bin").exists()


def test_a_long_wait_shows_a_status_line(design, monkeypatch):
    shown = []
    monkeypatch.setattr("moevit.sim.board.progress._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("rich.status.Status.update", lambda self, text: shown.append(text))
    with SimulatedBoard(design) as board:
        board.run(1_000_000)
    assert shown and all("cycles" in text for text in shown)


def test_two_boards_at_once(design):
    with SimulatedBoard(design) as one, SimulatedBoard(design) as two, Copy(one, 4096, 1) as a, Copy(two, 4096, 2) as b:
        a.start()
        b.start()
        one.wait(1e-3)
        two.wait(1e-3)
        for copy in (a, b):
            copy.destination.invalidate()
            assert (copy.destination.array == copy.source.array).all()


def test_equal_runs_take_equal_time(copy_of):
    copy = copy_of(8192)
    assert len({copy.cycles() for _ in range(4)}) == 1
