# SPDX-License-Identifier: Apache-2.0
"""The performance model's latencies are the hardware's."""

import gc

import pytest
from amaranth.hdl import Elaboratable

from moevit.estimator.latency import BURST_BEATS, Latencies
from moevit.estimator.timing import DISPATCH_DEPTH
from moevit.estimator.units import COLUMN_BEATS
from moevit.hw.array.compute import Compute
from moevit.hw.bus import bursts
from moevit.hw.control.dispatch import Dispatch
from moevit.hw.control.program_walk import ProgramWalk
from moevit.hw.loader import tiles
from moevit.hw.reader.means import Means
from moevit.hw.reader.norm_scale import NormScale
from moevit.hw.reader.row_reader import Fetch, OperandLanes, RowReader
from moevit.hw.router.router import Router
from moevit.hw.writer.row_writer import RowWriter
from moevit.spec.arrays import CONFIGS


@pytest.fixture(autouse=True)
def unused_allowed(monkeypatch):
    """For components that are looked at and not elaborated, which Amaranth would warn about."""
    monkeypatch.setattr(Elaboratable, "_MustUse__silence", True)
    yield
    gc.collect()


@pytest.mark.parametrize("name", CONFIGS)
def test_pipelines(name):
    config = CONFIGS[name]
    latencies = Latencies(config)
    assert latencies.compute == Compute(config).latency
    assert latencies.writer_done == RowWriter(config).DONE_LATENCY
    assert latencies.means == Fetch.latency + Means(config).latency
    assert latencies.norm == Fetch.latency + OperandLanes.latency_values[0] + NormScale(config).latency + 1
    assert latencies.READER == RowReader.latency
    assert latencies.ROUTER == Router(config).LATENCY
    assert latencies.router_walk == Router(config).WALK
    assert latencies.WALK == ProgramWalk.latency


def test_units():
    assert BURST_BEATS == bursts.BURST_BEATS
    assert COLUMN_BEATS == tiles.COLUMN_BEATS
    assert DISPATCH_DEPTH == Dispatch()._depth
