# SPDX-License-Identifier: Apache-2.0
"""What fits says of LUTs what ``docs/area.md`` has."""

from pathlib import Path

from moevit.pages.area import Area
from moevit.pages.fits import what_fits
from moevit.pages.markdown import read_table
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS

ROOT = Path(__file__).resolve().parents[3]
PAGE, AREA = what_fits(ROOT), Area(ROOT)


def test_no_array_fits_that_has_more_luts_than_its_board():
    rows = {row[0]: dict(zip(BOARDS, row[1:], strict=True)) for row in read_table(PAGE, "array")}
    for (board, config), cells in AREA.cells.items():
        over = AREA.counted(CONFIGS[config], BOARDS[board]).lut > BOARDS[board].lut
        assert over == (float(cells[3].split(",")[-1].strip(" %")) > 100)
        assert rows[config][board].startswith("no") or not over, (config, board)
    assert rows["64x64"]["zcu102"] == "no: LUT: 314301 of 274080"


def test_what_was_not_counted_is_said():
    rows = {row[0]: row[1:] for row in read_table(PAGE, "array")}
    assert all("LUTs not counted" in cell for cell in rows["8x8"] if cell.startswith("yes"))
    assert AREA.counted(CONFIGS["32x32"], BOARDS["zcu104"]) == AREA.counted(CONFIGS["32x32"], BOARDS["kv260"])
    assert AREA.counted(CONFIGS["32x32"], BOARDS["pynq-z2"]) is None


def test_an_array_with_too_many_luts_is_marked_beside_its_milliseconds():
    assert all(cells[-1].endswith("(64x64 !!)") for cells in read_table(PAGE, "network"))
