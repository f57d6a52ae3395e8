# SPDX-License-Identifier: Apache-2.0
"""A row from weights to figures, on a small array. A kept row is used again."""

import dataclasses

import numpy as np
import pytest

from moevit.bench import frame as frame_module
from moevit.bench.case import TASK, make_case
from moevit.bench.frame import BINS, measure
from moevit.bench.rows import ROWS, Row
from moevit.compiler.plan import reasons_against
from moevit.golden.integer.model import IntegerModel
from moevit.spec.arrays import CONFIGS
from moevit.spec.networks import NETWORKS


class SmallRow(Row):
    """The smallest network on the smallest array."""

    config = CONFIGS["8x8"]


ROW = SmallRow("zcu104", "tiny_test")


def nothing(state, share):
    pass


def test_rows_fit():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert not reasons_against(row.network, row.config), row


def test_case_is_kept(tmp_path, monkeypatch):
    network = NETWORKS["tiny_test"]
    first = make_case(network, 2, tmp_path)
    assert first.images.shape == (2, 16, 32, 3) and first.tokens.shape == (2, 9, 32)
    assert np.array_equal(IntegerModel(first.model).run(first.images[1], TASK).tokens, first.tokens[1])
    assert {block: sum(loads) for block, loads in first.loads.items()} == {1: 2 * 9 * 2}
    monkeypatch.setattr("moevit.bench.case.quantise", None)  # a use of it would fail
    again = make_case(network, 2, tmp_path)
    assert again.loads == first.loads and np.array_equal(again.tokens, first.tokens)
    with pytest.raises(TypeError):
        make_case(dataclasses.replace(network, expert_hidden=16), 2, tmp_path)


def test_measure(tmp_path, monkeypatch):
    seen = []
    found = measure(ROW, tmp_path, lambda state, share: seen.append((state, share)))
    figures = found.figures
    assert figures["bit_exact"] and figures["values"] == 9 * 32
    assert sum(figures["stalls"].values()) == figures["cycles"]
    assert abs(figures["predicted_cycles"] / figures["cycles"] - 1) < 0.03
    assert max(figures["ddr_bound_cycles"], figures["compute_bound_cycles"]) < figures["cycles"]
    assert figures["ms"] == pytest.approx(figures["cycles"] / 300e3)
    assert figures["macs_per_cycle"] * figures["cycles"] == pytest.approx(figures["macs"])
    assert len(found.beats) == BINS and sum(found.beats) * 8 == figures["bytes_read"]
    assert found.passes[-1][0] == "output" and found.passes[-1][2] <= figures["cycles"]
    assert [part for part, *_ in found.passes] == [part for part, *_ in found.predicted]
    assert ("building the simulation", 0) in seen

    monkeypatch.setattr(frame_module, "SimulatedBoard", None)  # a use of it would fail
    again = measure(ROW, tmp_path, nothing)
    assert again.figures == figures and again.beats == found.beats


def test_a_wrong_value_is_found(tmp_path, monkeypatch):
    def wrong(network, batch, folder):
        case = make_case(network, batch, folder)
        tokens = case.tokens.copy()
        tokens[0, 3, 5] += 1
        return case._replace(tokens=tokens)

    assert measure(ROW, tmp_path, nothing).figures["bit_exact"]  # the kept one
    monkeypatch.setattr(frame_module, "make_case", wrong)
    assert not measure(ROW, tmp_path, nothing).figures["bit_exact"]
