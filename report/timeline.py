# SPDX-License-Identifier: Apache-2.0
"""What memory bus and array do at the same time: a lane each, bars from begin to end."""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from .colours import KIND_COLOURS
from .svg import CHARACTER, Canvas, legend_height

__all__ = ["Bar", "Lane", "ticks", "timeline"]

_ROW, _GAP, _ROWS = 16, 8, 3


class Bar(NamedTuple):
    """Something from cycle ``start`` to cycle ``end``; ``block``: the transformer block that it belongs to, if any."""

    name: str
    start: float
    end: float
    colour: str
    block: int | None = None


class Lane(NamedTuple):
    """``source`` says where its bars are from."""

    label: str
    source: str
    bars: Sequence[Bar]


def timeline(lanes: Sequence[Lane], begin: float, end: float, width: float, title: str) -> str:
    """The cycles ``begin`` to ``end`` of all lanes. Bars that overlap lie below each other."""
    rows = [_rows([bar for bar in lane.bars if bar.end > begin and bar.start < end]) for lane in lanes]
    heights = [22 + _ROW * max(1, len(each)) + _GAP for each in rows]
    used = {kind: colour for kind, colour in KIND_COLOURS.items()
            if any(bar.colour == colour for row in rows for bars in row for bar in bars)}
    legend = legend_height(list(used), width)
    words = "; ".join(f"{lane.label} ({lane.source}): {len(lane.bars)} bars" for lane in lanes)
    canvas = Canvas(width, sum(heights) + 44 + legend + 8, title, f"Cycles {begin:,.0f} to {end:,.0f}. {words}.")
    scale = (width - 2) / (end - begin)
    bottom = sum(heights)
    top = 0.0
    for lane, each, height in zip(lanes, rows, heights, strict=True):
        canvas.text(0, top + 14, lane.label, bold=True, after=lane.source)
        for row, bars in enumerate(each):
            for bar in bars:
                left = 1 + (max(bar.start, begin) - begin) * scale
                right = 1 + (min(bar.end, end) - begin) * scale
                canvas.rect(left, top + 22 + _ROW * row, max(0.7, right - left), _ROW - 2, bar.colour,
                            f"{bar.name}: {bar.start:,.0f} to {bar.end:,.0f}, {bar.end - bar.start:,.0f} cycles")
        top += height
    _cycles(canvas, begin, end, bottom, width)
    canvas.legend(0, bottom + 44, width, used)
    return str(canvas)


def _rows(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Bars that overlap go to different rows, as long as there are rows."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda bar: bar.start):
        free = next((row for row in rows if row[-1].end <= bar.start), None)
        if free is None and len(rows) < _ROWS:
            rows.append(free := [])
        (free if free is not None else min(rows, key=lambda row: row[-1].end)).append(bar)
    return rows


def ticks(begin: float, end: float, most: int) -> list[float]:
    """Whole multiples of 1, 2 or 5 times a power of ten from ``begin`` to ``end``, ``most`` of them at most."""
    power = 10.0 ** max(0, floor(log10((end - begin) / most)))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (end - begin) / (power * factor) <= most - 1)
    return [step * index for index in range(ceil(begin / step), floor(end / step) + 1)]


def _cycles(canvas: Canvas, begin: float, end: float, bottom: float, width: float) -> None:
    for cycle in ticks(begin, end, max(3, int(width // 110))):
        x = 1 + (width - 2) * (cycle - begin) / (end - begin)
        word = f"{cycle:,.0f}"
        half = CHARACTER * len(word) / 2
        canvas.line([(x, bottom - 4), (x, bottom)])
        anchor = "start" if x < half else "end" if x > width - half else "middle"
        canvas.text(x, bottom + 13, word, anchor=anchor, muted=True)
    canvas.text(width / 2, bottom + 30, "cycles since START", anchor="middle", muted=True)
