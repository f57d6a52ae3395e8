# SPDX-License-Identifier: Apache-2.0
"""A run's report, as a person sees it."""

import numpy as np

from moevit.host.report import PassReport, RunReport
from moevit.host.runtime import Accelerator
from moevit.host.selftest.fake import FakeDevice, fake_bundle
from moevit.spec.parts import Part
from moevit.spec.registers import COUNTERS


def report(**counters: int) -> RunReport:
    passes = (PassReport("blocks.0.mlp.fc1", Part.FC1, 0, None, 0, 4, 900, 900, 12_000, 64),)
    return RunReport("depth", {**{name: 0 for name, _ in COUNTERS}, **counters}, passes)


def test_three_lines():
    shown = repr(report(CYCLES=1000, BUSY=900, WAIT_NORM=100, BYTES_READ=4096, BYTES_WRITTEN=64, SATURATED=2))
    assert shown.splitlines() == [
        "depth: 1,000 cycles, 12,000 multiply-accumulates, 12.0 a cycle",
        "4,096 bytes read, 64 written; 2 values saturated",
        "BUSY 90.0%, WAIT_NORM 10.0%"]
    assert repr(report()).splitlines()[::2] == [
        "depth: no time was kept, 12,000 multiply-accumulates", "no cycle was counted"]


def test_a_table_in_a_notebook():
    shown = report(CYCLES=1000, BUSY=900, WAIT_NORM=100)._repr_html_()
    assert '<th scope="row">BUSY</th><td>900</td><td>90.0%</td>' in shown and shown.startswith("<table><caption>depth")
    assert "of the cycles" in shown and "%" not in report()._repr_html_()
    assert '<th scope="row">cycles</th><td>no time was kept</td>' in report()._repr_html_()


def test_after_a_run():
    with Accelerator(FakeDevice()) as accelerator:
        accelerator.load(fake_bundle())
        accelerator.run(np.zeros((8, 8, 3), np.uint8), "one")
        assert len(repr(accelerator.last_run).splitlines()) == 3 and "<table>" in accelerator.last_run._repr_html_()
