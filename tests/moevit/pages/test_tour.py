# SPDX-License-Identifier: Apache-2.0
"""The numbers of the tour are those of the simulated core, and of numpy."""

import json
from pathlib import Path

import numpy as np
import pytest

from moevit.golden.integer.row_scale import UNIT, RowScale
from moevit.golden.integer.row_writer import write_rows
from moevit.pages.one_block import RECORD, drawn, record
from moevit.pages.scenes import chosen
from moevit.pages.small_pass import BIAS, COLUMN_SCALE, K_TILES, ROWS, SHIFT, SmallPass, operands, weights
from moevit.pages.tour import BEGIN, END, pass_table

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def run():
    return SmallPass()


def test_sums_and_stored_rows_are_numpys(run):
    sums = operands() @ weights()
    np.testing.assert_array_equal([event.values for event in run.of("sums")], sums)
    scale = RowScale(*(np.full(ROWS, part) for part in UNIT))
    written = write_rows(sums, scale, np.full(8, COLUMN_SCALE), np.full(8, BIAS), SHIFT)
    np.testing.assert_array_equal([event.values for event in run.of("stored")], written.rows)


def test_rows_enter_tile_by_tile(run):
    entered = run.of("row")
    assert [event.index for event in entered] == [*range(ROWS)] * K_TILES
    rows = [event.values for event in entered]
    np.testing.assert_array_equal(np.reshape(rows, (K_TILES, ROWS, 8)), operands().reshape(ROWS, K_TILES, 8)
                                  .swapaxes(0, 1))


def test_the_tour_shows_this_run(run):
    text = (ROOT / "docs/architecture.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == pass_table(run).strip(), "run `make docs`"


def test_the_timeline_is_drawn_from_its_record():
    assert (ROOT / "docs/pictures/one_block.svg").read_text() == drawn(json.loads((ROOT / RECORD).read_text()))


@pytest.mark.slow
def test_the_record_of_a_block_is_current():
    assert json.loads(json.dumps(record())) == json.loads((ROOT / RECORD).read_text()), \
        "run `python -m moevit.pages.one_block`"


def test_scenes_are_chosen_as_the_readme_says():
    measured = json.loads((ROOT / "docs/pictures/scenes.json").read_text())
    scenes = chosen(measured)
    wrong, cards = measured["wrong"], measured["on_cards"]
    assert wrong[scenes["best"]] == min(wrong) and wrong[scenes["worst"]] == max(wrong)
    assert cards[scenes["best"]] == max(each for each, count in zip(cards, wrong, strict=True) if count == min(wrong))
    assert wrong[scenes["median"]] == np.median(wrong)
    readme = (ROOT / "README.md").read_text()
    assert f"of {wrong.count(0)}\nscenes without any" in readme
    assert f"{measured['miou']:.2%}".replace("%", " %") in readme


def test_scores_of_the_scenes_are_those_of_the_demo():
    measured = json.loads((ROOT / "docs/pictures/scenes.json").read_text())
    scored = json.loads((ROOT / "models/demo/quantised.json").read_text())
    assert measured["scenes"] == scored["scenes"]
    assert measured["miou"] == pytest.approx(scored["semseg"]["miou"]["integer"], abs=1e-4)
    assert measured["depth_rmse"] == pytest.approx(scored["depth"]["rmse"]["integer"], abs=1e-4)
