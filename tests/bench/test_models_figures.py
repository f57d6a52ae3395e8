# SPDX-License-Identifier: Apache-2.0
"""The committed figures of `make models` keep the project's promises."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
MODEL = "dinov2_s14"
TOKENS, DIM = 257, 384
#: Most points of top-1 that integers may lose, and least share of the same answers.
PROMISED = {"digits": (0.3, 98.5), "textiles": (1.0, 95.0)}
TESTED = {"digits": 897, "textiles": 1000}


def table(first: str, heading: str = "# Real") -> list[dict[str, str]]:
    """Rows of the first table below ``heading`` whose header begins with ``first``."""
    lines = TEXT.partition(heading)[2].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    header, _, *rest = ([cell.strip() for cell in line.strip("|").split("|")]
                        for line in lines[start:lines.index("", start)])
    return [dict(zip(header, cells, strict=True)) for cells in rest]


def number(cell: str) -> float:
    return float(re.match(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?", cell)[0].replace(",", ""))


MODELS = {row["model"]: row for row in table("model", "## Models")}
SCORES = {row["pictures, train + test"].split(" (")[0]: row for row in table("model", "## Accuracy")
          if row["model"] == MODEL}


def test_the_import_is_the_source():
    assert number(MODELS[MODEL]["reference"]) >= 100
    assert "LayerScale" in MODELS[MODEL]["folded"]


def test_integers_are_near_on_unseen_photographs():
    row = MODELS[MODEL]
    assert number(row["cosine, median"]) >= 0.9995 and number(row["cosine, least"]) >= 0.995
    assert row["saturated"].startswith("none") or number(row["saturated"]) <= 1e-5


def test_the_frame_on_the_rtl_is_the_integer_model():
    assert MODELS[MODEL]["RTL, 32x64"] == f"{TOKENS * DIM:,} values, all equal"


@pytest.mark.parametrize("name", PROMISED)
def test_accuracy(name):
    row, (loss, same) = SCORES[name], PROMISED[name]
    assert number(row["loss"]) <= loss and number(row["same answer"]) >= same
    assert number(row["float"]) - number(row["integer"]) == pytest.approx(number(row["loss"]), abs=0.011)
    assert row["pictures, train + test"].endswith(f" + {TESTED[name]:,}")


def test_the_demo_stands_beside_them():
    scores = [row["score"] for row in table("model", "## Accuracy") if row["model"] == "demo"]
    assert scores == ["mean IoU", "depth RMSE"]


@pytest.mark.parametrize("name", PROMISED)
def test_both_kinds_of_calibration_are_measured(name):
    rows = [row for row in table("set", "## What the calibration") if row["set"] == name]
    assert [row["calibrated on"] for row in rows] == ["training pictures", "photographs"]
    assert rows[0]["integer"] == SCORES[name]["integer"].split(" ")[0]


def test_boards():
    rows = {row["board"]: row for row in table("board", "## Cycles per board")}
    measured = int(re.search(r"ran on the RTL: ([\d,]+) cycles", TEXT)[1].replace(",", ""))
    assert abs(number(rows["zcu104"]["cycles (predicted)"]) - measured) <= 0.03 * measured
    assert number(rows["zcu102"]["cycles (predicted)"]) < number(rows["kv260"]["cycles (predicted)"])
