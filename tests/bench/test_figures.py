# SPDX-License-Identifier: Apache-2.0
"""The committed figures of `make bench` keep the project's promises."""

from pathlib import Path

import pytest

from moevit.bench.rows import ROWS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text()
#: Most cycles of a frame of m3vit_tiny, by board.
MOST = {"pynq-z2": 3_600_000, "kv260": 900_000, "zcu104": 520_000, "zcu102": 375_000}
#: Least share of the array in frames that the array bounds.
LEAST = {("m3vit_small", "zcu104"): 85,
         **{(network, board): least for network, least in {"m3vit_tiny, batch 4": 88, "deit_tiny": 85,
                                                           "deit_small": 85}.items() for board in ("zcu104", "zcu102")}}


def table(heading: str) -> dict[tuple[str, str], dict[str, str]]:
    """Lines of the first table below ``heading``, by network and board."""
    lines = [line for line in TEXT.partition(heading)[2].splitlines()]
    first = next(index for index, line in enumerate(lines) if line.startswith("| network | board |"))
    header, _, *rest = ([cell.strip() for cell in line.strip("|").split("|")]
                        for line in lines[first:lines.index("", first)])
    return {(cells[0], cells[1]): dict(zip(header, cells, strict=True)) for cells in rest}


FRAMES = table("# Performance")


def number(cell: str) -> int:
    return int(cell.split()[0].replace(",", ""))


def test_every_row_was_measured():
    assert len(FRAMES) == len(ROWS)


@pytest.mark.parametrize("row", FRAMES.values(), ids=" ".join)
def test_values_and_prediction(row):
    assert number(row["exact"]) > 0
    assert abs(number(row["predicted"]) - number(row["cycles"])) <= 0.03 * number(row["cycles"])


@pytest.mark.parametrize("board", MOST)
def test_a_frame_takes_no_more(board):
    assert number(FRAMES["m3vit_tiny", board]["cycles"]) <= MOST[board]


@pytest.mark.parametrize("key", LEAST, ids=" ".join)
def test_the_array_is_used(key):
    assert float(table("## Where the cycles went")[key]["of the array"].rstrip("%")) >= LEAST[key]
