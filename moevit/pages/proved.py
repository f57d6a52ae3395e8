# SPDX-License-Identifier: Apache-2.0
"""What is proved, from the committed figures: the README's badges, and its table of boards."""

import json
import re
from html import escape
from pathlib import Path

from moevit.estimator.estimate import estimate
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.networks import NETWORKS

from .area import Area
from .markdown import read_table, table
from .svg import drawing

__all__ = ["BEGIN", "END", "badges", "boards", "facts", "with_boards"]

BEGIN, END = "<!-- Written by `make docs`; do not edit. -->", "<!-- End of what `make docs` writes. -->"
_GOOD, _OPEN, _LEFT = "#1a7f4b", "#9a6700", "#3d444d"
_LETTER = 7.0  # width of a letter, on average


def facts(root: Path) -> list[tuple[str, str, bool]]:
    """What each badge says, and whether it is shown."""
    frames = read_table((root / "docs/performance.md").read_text(), "network")
    values = sum(int(row[-1].replace(",", "")) for row in frames)
    worst = max(abs(float(re.search(r"\(([-+]?[\d.]+)%\)", row[-2])[1])) for row in frames)  # type: ignore[index]
    demo = json.loads((root / "models/demo/quantised.json").read_text())["semseg"]["miou"]
    models = read_table((root / "docs/models.md").read_text(), "model")
    cosine = next(row[4] for row in models if row[0] == "dinov2_s14")
    return [
        ("RTL = integer model", f"{values:,} values, 0 differ", True),
        ("cycles predicted", f"within {worst:g} %", True),
        ("float to int8, demo", f"mIoU {demo['float']:.2%} to {demo['integer']:.2%}", True),
        ("DINOv2 ViT-S/14", f"cosine {cosine}", True),
        ("on a board", "not yet", False),
    ]


def badges(root: Path) -> str:
    """All badges beside and below each other."""
    parts, x, y = [], 0.0, 0.0
    for name, said, shown in facts(root):
        left, right = 14 + _LETTER * len(name), 14 + _LETTER * len(said)
        if x + left + right > 860:
            x, y = 0.0, y + 28
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{left:g}" height="22" rx="3" fill="{_LEFT}"/>'
                     f'<rect x="{x + left:g}" y="{y:g}" width="{right:g}" height="22" rx="3" '
                     f'fill="{_GOOD if shown else _OPEN}"/>')
        parts += [f'<text x="{at:g}" y="{y + 15:g}" font-size="12" fill="#ffffff" text-anchor="middle">'
                  f"{escape(text)}</text>" for at, text in ((x + left / 2, name), (x + left + right / 2, said))]
        x += left + right + 8
    words = "; ".join(f"{name}: {said}" for name, said, _ in facts(root))
    return drawing(862, y + 22, parts, f"What is shown: {words}")


def boards(root: Path) -> str:
    """LUTs, multipliers, memories as Yosys counts them, the assumed clock, and a frame, by board."""
    area = Area(root).cells
    frames = {(row[0], row[1]): row for row in read_table((root / "docs/performance.md").read_text(), "network")}
    rows = []
    for board in BOARDS.values():
        dsp, bram, uram, lut, ff = (cell.replace(" %", "%") for cell in area[board.name, board.config])
        frame = frames.get(("m3vit_tiny", board.name))
        predicted = board.milliseconds(estimate(NETWORKS["m3vit_tiny"], CONFIGS[board.config], board).cycles)
        rows.append([board.name, board.config, lut, ff, dsp, bram, uram, f"{board.clock_mhz:g}",
                     f"{frame[5]} ms" if frame else f"{predicted:.2f} ms (predicted)"])
    counted = [f"{name} (Yosys)" for name in ("LUT", "FF", "DSP", "BRAM36", "URAM")]
    return table(["board", "array", *counted, "MHz (assumed)", "m3vit_tiny, a frame"], rows)


def with_boards(text: str, root: Path) -> str:
    """The README with its table of boards written anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{boards(root)}\n{END}{after}"
