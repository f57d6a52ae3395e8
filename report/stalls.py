# SPDX-License-Identifier: Apache-2.0
"""Where the cycles went: what the row reader did in each of them."""

from collections.abc import Mapping

from .colours import STALL_COLOURS, STALL_WORDS
from .svg import CHARACTER, Canvas, legend_height

__all__ = ["stalls"]

_BAR = 26


def stalls(runs: Mapping[str, Mapping[str, int]], width: float, title: str) -> str:
    """A bar a run, whole is all its cycles, cut by cause. ``runs``: cycles by the name of a counter, by run."""
    entries = {f"{STALL_WORDS[cause]} ({cause})": colour for cause, colour in STALL_COLOURS.items()}
    legend = legend_height(list(entries), width)
    top = 8.0
    words = ". ".join(f"{run}: " + ", ".join(f"{STALL_WORDS[cause]} {_share(cycles, causes)}"
                                            for cause, cycles in causes.items()) for run, causes in runs.items())
    canvas = Canvas(width, len(runs) * (_BAR + 30) + legend + 16, title, words)
    for run, causes in runs.items():
        canvas.text(0, top + 12, run, bold=True)
        canvas.text(width, top + 12, f"{sum(causes.values()):,} cycles", anchor="end", muted=True)
        left = 0.0
        for cause, colour in STALL_COLOURS.items():
            wide = width * causes.get(cause, 0) / max(1, sum(causes.values()))
            share = _share(causes.get(cause, 0), causes)
            canvas.rect(left, top + 18, wide, _BAR, colour, f"{STALL_WORDS[cause]}: {causes.get(cause, 0):,} cycles")
            if wide > CHARACTER * len(share) + 6:
                canvas.text(left + wide / 2, top + 18 + _BAR / 2 + 4, share, anchor="middle", on=colour)
            left += wide
        top += _BAR + 30
    canvas.legend(0, top + 4, width, entries)
    return str(canvas)


def _share(cycles: int, causes: Mapping[str, int]) -> str:
    return f"{cycles / max(1, sum(causes.values())):.1%}"
