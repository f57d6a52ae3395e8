# SPDX-License-Identifier: Apache-2.0
"""The README's figures are those of the committed notebooks and of ``docs/models.md``."""

import json
import re
from pathlib import Path

from moevit.pages.markdown import read_table

ROOT = Path(__file__).resolve().parents[3]
README = " ".join((ROOT / "README.md").read_text().split())


def printed(notebook):
    """What the committed run of a notebook printed."""
    cells = json.loads((ROOT / "notebooks" / notebook).read_text())["cells"]
    return "".join("".join(output.get("text", ())) for cell in cells for output in cell.get("outputs", ()))


def test_make_sim():
    rows = {row[0]: row[1:] for row in read_table((ROOT / "README.md").read_text(), "| segmentation")}
    values = re.findall(r"(?m)^(?:semseg|depth) +(.* values, 0 differ)", printed("01_first_frame.ipynb"))
    assert rows["RTL against integer model"] == values and len(values) == 2
    runs = re.findall(r"(?m)^(?:semseg|depth) +([\d,]+) cycles, .*, ([\d.]+)% of what", printed("02_inside.ipynb"))
    assert rows["cycles per frame"] == [cycles for cycles, _ in runs] and len(runs) == 2
    assert rows["of the array's multiply-accumulates"] == [f"{share} %" for _, share in runs]


def test_dinov2():
    text = (ROOT / "docs/models.md").read_text()
    row = next(row for row in read_table(text, "model") if row[0] == "dinov2_s14")
    cycles = re.search(r"also ran on the RTL: ([\d,]+) cycles", text)[1]
    reference, cosine, values = row[3], row[4], row[7].split()[0]
    said = re.search(r"DINOv2 ViT-S/14 with its own weights.*?in the median", README)[0]
    assert f"({reference} to onnxruntime)" in said and f"{cycles} cycles: {values} values, all equal" in said
    assert f"cosine of {cosine} in the median" in said
