# SPDX-License-Identifier: Apache-2.0
"""Bars beside bars: used of available, predicted beside measured."""

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

from .colours import SERIES, STALL_COLOURS, STALL_WORDS, WRONG
from .svg import CHARACTER, Canvas, theme

__all__ = ["Budget", "prediction", "resources"]

_USED, _TOO_MANY = SERIES["measured"], WRONG


class Budget(NamedTuple):
    """Blocks of a kind that the machine uses, of those that the board has."""

    name: str
    used: float
    available: float


def resources(budgets: Sequence[Budget], width: float, board: str) -> str:
    """A bar each, whole is what the board has; red where that is too little."""
    canvas = Canvas(width, 44 * len(budgets) + 4, f"Memories and slices used of {board}",
                    "; ".join(f"{each.name}: {each.used:g} of {each.available:g}" for each in budgets))
    for index, each in enumerate(budgets):
        top = 44 * index
        share = each.used / each.available if each.available else float(each.used > 0)
        canvas.text(0, top + 14, each.name, bold=True)
        percent = f", {_percent(share)}" if each.available else ""
        canvas.text(width, top + 14, f"{each.used:g} of {each.available:g}{percent}", anchor="end", muted=True)
        canvas.rect(0, top + 20, width, 16, theme("panel"), stroke=theme("line"))
        canvas.rect(0, top + 20, width * min(1, share), 16, _TOO_MANY if share > 1 else _USED, f"{each.used:g} used")
    return str(canvas)


def _percent(share: float) -> str:
    """Rounded away from 100: only what is exactly full reads as 100 %."""
    return f"{floor(100 * share + 1e-9) if share < 1 else ceil(100 * share - 1e-9)}%"


def prediction(measured: dict[str, int], predicted: dict[str, int], width: float) -> str:
    """Cycles by cause, measured and predicted, on one scale."""
    causes = [cause for cause in STALL_COLOURS if measured.get(cause, 0) or predicted.get(cause, 0)]
    high = max(max(each.get(cause, 0) for cause in causes) for each in (measured, predicted))
    totals = sum(measured.values()), sum(predicted.values())
    canvas = Canvas(width, 54 * len(causes) + 28, "Cycles measured and predicted",
                    f"{totals[0]:,} measured, {totals[1]:,} predicted. " + ". ".join(
                        f"{STALL_WORDS[cause]}: {measured.get(cause, 0):,} and {predicted.get(cause, 0):,}"
                        for cause in causes))
    room = width - CHARACTER * len(f"{high:,}") - 10
    for index, cause in enumerate(causes):
        top = 54 * index
        canvas.text(0, top + 13, STALL_WORDS[cause])
        for place, (each, colour) in enumerate(((measured, SERIES["measured"]), (predicted, SERIES["predicted"]))):
            wide = room * each.get(cause, 0) / high if high else 0
            canvas.rect(0, top + 18 + 15 * place, wide, 13, colour, f"{cause}: {each.get(cause, 0):,} cycles")
            canvas.text(wide + 6, top + 29 + 15 * place, f"{each.get(cause, 0):,}", muted=True)
    canvas.legend(0, 54 * len(causes) + 6, width, {name: SERIES[name] for name in ("measured", "predicted")})
    return str(canvas)
