# SPDX-License-Identifier: Apache-2.0
"""Numbers of rows and columns as coloured cells: tokens of experts, SQNR of tensors."""

from collections.abc import Callable, Sequence
from math import isfinite, isnan

import numpy as np

from .colours import mapped
from .svg import CHARACTER, Canvas, theme

__all__ = ["experts", "fidelity", "heatmap"]

_CELL, _SMALL = 24, 10
_ORDER = ("q", "k", "v", "attn_logits", "attn_out", "x_post_attn", "gate_logits", "gelu", "x_post_mlp")


def heatmap(rows: Sequence[str], columns: Sequence[str], values: np.ndarray, low: float, high: float,
            written: Callable[[float], str], width: float, title: str, description: str) -> str:
    """``values`` (rows, columns) on the colour scale from ``low`` to ``high``. A cell has its number if there is room,
    a cell of nan stays empty."""
    left = CHARACTER * max(map(len, rows)) + 10
    wide = min(90.0, (width - left) / len(columns))
    level = all(len(name) * CHARACTER < wide for name in columns)
    head = 22.0
    if not level:  # names that are turned lean over the last column
        head, lean = 14 + CHARACTER * max(map(len, columns)) * 0.9, 0.42 * CHARACTER * len(columns[-1])
        wide = min(wide, (width - left - lean) / len(columns))
    canvas = Canvas(width, head + _CELL * len(rows) + 4, title, description)
    for column, name in enumerate(columns):
        x = left + wide * (column + 0.5)
        if level:
            canvas.text(x, head - 7, name, anchor="middle", muted=True)
        else:
            canvas.text(x + 4, head - 5, name, muted=True, turn=-65)
    for row, name in enumerate(rows):
        y = head + _CELL * row
        canvas.text(left - 8, y + 16, name, anchor="end", muted=True)
        for column, value in enumerate(values[row]):
            if isnan(value):
                continue
            colour = mapped(value, low, high)
            canvas.rect(left + wide * column + 0.5, y + 0.5, wide - 1, _CELL - 1, colour,
                        f"{name}, {columns[column]}: {written(value)}", stroke=theme("line"))
            if wide > 0.56 * _SMALL * len(written(value)) + 2:
                canvas.text(left + wide * (column + 0.5), y + 15.5, written(value), anchor="middle", on=colour,
                            size=_SMALL)
    return str(canvas)


def experts(loads: np.ndarray, blocks: Sequence[int], width: float, task: str) -> str:
    """Tokens (blocks, experts) of one task."""
    busiest = max((float(load.max()) * len(load) / max(1.0, float(load.sum())) for load in loads), default=0.0)
    return heatmap([f"block {block}" for block in blocks], [str(expert) for expert in range(loads.shape[1])],
                   np.asarray(loads, float), 0, max(1.0, float(loads.max())), lambda value: f"{value:.0f}", width,
                   f"Tokens of each expert, task {task}",
                   f"Rows are blocks, columns experts. The busiest expert has {busiest:.1f} times the mean load; "
                   f"{int((loads == 0).sum())} of {loads.size} have none.")


def fidelity(sqnr: dict[str, float], depth: int, width: float) -> str:
    """SQNR in dB of the tensors ``block.name`` of each block: 10 dB is dark, 60 dB is light."""
    names = list(dict.fromkeys(name.partition(".")[2] for name in sqnr if name.partition(".")[2]))
    names.sort(key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    values = np.array([[sqnr.get(f"{block}.{name}", np.nan) for name in names] for block in range(depth)])
    worst = min(sqnr, key=lambda name: sqnr[name])
    return heatmap([f"block {block}" for block in range(depth)], names, values, 10, 60,
                   lambda value: f"{value:.1f}" if isfinite(value) else "exact", width, "SQNR of every tensor, in dB",
                   f"The worst is {worst} with {sqnr[worst]:.1f} dB; the final tokens have {sqnr['tokens']:.1f} dB.")
