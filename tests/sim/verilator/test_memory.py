# SPDX-License-Identifier: Apache-2.0
"""The simulated DDR: latency, bandwidth, stalls, faults, as set."""

from fractions import Fraction

import numpy as np
import pytest

from moevit.host.errors import AcceleratorTimeout
from moevit.sim.verilator.records import BURST, beat_counts
from moevit.sim.verilator.settings import Fault, FaultKind, MemorySettings
from moevit.spec.registers import BITS, offset

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("latency", [2, 64, 300])
def test_read_latency(copy_of, latency):
    """One burst: its cycles beyond the least are the latency."""
    copy = copy_of(256)
    copy.board.memory = MemorySettings(read_latency=2)
    least = copy.cycles()
    copy.board.memory = MemorySettings(read_latency=latency)
    assert copy.cycles() - least == latency - 2


def test_write_latency(copy_of):
    copy = copy_of(256)
    copy.board.memory = MemorySettings(write_latency=1)
    least = copy.cycles()
    copy.board.memory = MemorySettings(write_latency=101)
    assert copy.cycles() - least == 100


@pytest.mark.parametrize("bandwidth", [Fraction(1, 4), Fraction(2, 3), Fraction(1), 0.85])
def test_bandwidth_is_shared_by_reads_and_writes(copy_of, bandwidth):
    copy = copy_of(1 << 16)
    copy.board.memory = MemorySettings(bandwidth=bandwidth)
    beats = 2 * copy.size // 16
    assert copy.cycles() == pytest.approx(beats / float(bandwidth), rel=0.08)


def test_full_rate_needs_bursts_under_way(copy_of):
    copy = copy_of(1 << 14)
    copy.board.memory = MemorySettings(bandwidth=2, outstanding=8)
    fast = copy.cycles()
    copy.board.memory = MemorySettings(bandwidth=2, outstanding=1)
    slow = copy.cycles()
    assert fast < 1.6 * copy.size // 16
    assert slow > 64 * copy.size // 256


@pytest.mark.parametrize("stall, seed", [(0.25, 1), (0.5, 2), (0.9, 3)])
def test_stalls_change_the_time_and_not_the_result(copy_of, stall, seed):
    copy = copy_of(8192, seed)
    copy.board.memory = MemorySettings(stall=stall, seed=seed)
    first = copy.cycles()
    assert (copy.destination.array == copy.source.array).all(), f"seed {seed}"
    copy.board.memory = MemorySettings(stall=stall, seed=seed + 100)
    assert copy.cycles() != first
    copy.board.reset()
    copy.board.memory = MemorySettings()
    assert copy.cycles() < first


def control(board, bit):
    return board.read_register(offset("CONTROL")) >> BITS[bit] & 1


@pytest.mark.parametrize("kind", [FaultKind.SLVERR, FaultKind.DECERR])
@pytest.mark.parametrize("side", ["reads", "writes"])
def test_error_responses(copy_of, kind, side):
    copy = copy_of(4096)
    buffer = copy.source if side == "reads" else copy.destination
    copy.board.memory = MemorySettings(fault=Fault(kind=kind, base=buffer.address + 512, limit=buffer.address + 528))
    copied = copy.run()
    assert control(copy.board, "ERROR")
    wrong = np.flatnonzero(copied != copy.source.array)
    if side == "reads":
        assert (copied[512:528] == 0xA5).all()
        assert set(wrong) <= set(range(512, 528))
    else:
        assert not len(wrong)


def test_only_the_chosen_side_fails(copy_of):
    copy = copy_of(4096)
    at = copy.source.address
    copy.board.memory = MemorySettings(fault=Fault(kind=FaultKind.SLVERR, base=at, limit=at + 4096, reads=False))
    copy.run()
    assert not control(copy.board, "ERROR")


@pytest.mark.parametrize("kind", [FaultKind.NO_ANSWER, FaultKind.NOT_ACCEPTED])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_silence_until_the_fault_is_lifted(copy_of, kind, side):
    copy = copy_of(4096)
    at = getattr(copy, side).address + 2048
    copy.board.memory = MemorySettings(fault=Fault(kind=kind, base=at, limit=at + 1))
    copy.start()
    with pytest.raises(AcceleratorTimeout):
        copy.board.wait(20e-6)
    copy.board.memory = MemorySettings()
    copy.board.wait(1e-2)
    copy.destination.invalidate()
    assert (copy.destination.array == copy.source.array).all()


def test_early_last_ends_the_burst(copy_of):
    copy = copy_of(4096)
    at = copy.source.address + 1024
    copy.board.memory = MemorySettings(fault=Fault(kind=FaultKind.LAST_EARLY, base=at, limit=at + 16))
    copy.start()
    with pytest.raises(AcceleratorTimeout):  # 15 beats never come, and the example does not look
        copy.board.wait(20e-6)
    copy.board.reset()


def test_addresses_outside_the_memory_are_decode_errors(board):
    for name, value in (("INTERRUPT_STATUS", 1), ("WEIGHTS_HIGH", 0), ("WEIGHTS_LOW", 0), ("OUTPUT_LOW", 0x4000),
                        ("PROGRAM_LENGTH", 16), ("CONTROL", 1)):
        board.write_register(offset(name), value)
    board.wait(1e-3)
    assert control(board, "ERROR")


def test_twenty_megabytes_in_seconds(copy_of):
    copy = copy_of(20 << 20)
    copy.source.flush()
    copy.source.invalidate()


@pytest.mark.parametrize("wrong", [
    {"read_latency": 1}, {"bandwidth": 0}, {"bandwidth": 3}, {"stall": 1.0}, {"outstanding": 65}, {"seed": -1},
])
def test_odd_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MemorySettings(**wrong)


def test_beat_counts_clip_to_the_range():
    bursts = np.array([(0, 0x100, 16, 0), (1, 0x180, 16, 0), (2, 0x100, 16, 1)], BURST)
    assert beat_counts(bursts, 16, 0x170, 0x30).tolist() == [1, 2, 2]
    assert beat_counts(bursts, 16, 0x170, 0x30, write=True).tolist() == [1, 1, 1]
    assert beat_counts(bursts[:0], 16, 0x170, 0x30).tolist() == [0, 0, 0]
