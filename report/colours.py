# SPDX-License-Identifier: Apache-2.0
"""Colours and scales of every picture: the page, the notebooks, ``make sim`` and the benchmark take them from here.

Categories use the palette of Okabe and Ito, which people with any colour blindness can tell apart, plus wine and grey.
Values use viridis, whose lightness rises evenly.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["BUS", "CLASSES", "DEPTH", "EXPERTS", "KIND_COLOURS", "SERIES", "STALL_COLOURS", "STALL_WORDS", "THEMES",
           "VALUES", "WRONG", "class_map", "contrast", "ink_on", "mapped", "value_map"]

_ORANGE, _SKY, _GREEN, _YELLOW, _BLUE = "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2"
_VERMILION, _PURPLE, _WINE, _GREY = "#D55E00", "#CC79A7", "#882255", "#c0c0c0"

#: By the kinds of `host.report.KINDS`.
KIND_COLOURS = {"norm": _YELLOW, "query, key, value": _ORANGE, "logits": _SKY, "mix": _BLUE, "projection": _GREEN,
                "gate": _WINE, "experts": _VERMILION, "dense FFN": _PURPLE, "image, output": _GREY}

#: What the row reader does in a cycle, by the name of its counter.
STALL_COLOURS = {"BUSY": _GREEN, "WAIT_NORM": _YELLOW, "WAIT_WEIGHTS": _VERMILION, "WAIT_DRAIN": _SKY,
                 "WAIT_WRITER": _PURPLE, "WAIT_PROGRAM": _GREY}
STALL_WORDS = {"BUSY": "rows enter the array", "WAIT_NORM": "statistics of a norm", "WAIT_WEIGHTS": "waits for weights",
               "WAIT_DRAIN": "waits for stored rows", "WAIT_WRITER": "waits for the writer",
               "WAIT_PROGRAM": "no instruction"}

#: Beats on the memory bus, of whatever pass.
BUS = _BLUE

#: Lines and bars that are compared, by what they are.
SERIES = {"measured": _BLUE, "predicted": _ORANGE, "compute bound": _GREEN, "memory bound": _VERMILION}

#: Experts, and classes after the background; a further one starts again, so a picture also writes the number.
EXPERTS = (_ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE, _GREY)
CLASSES = ("#202020", _ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE, _GREY, _WINE, "#ffffff")
WRONG = _VERMILION  # where an answer is not the label

#: Viridis from dark to light: small values are dark.
VALUES = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
#: Depth from 0 to 1: near is light.
DEPTH = tuple(reversed(VALUES))

#: Text, muted text, lines, page, panel, and the colours of a verdict, by theme.
THEMES = {
    "light": {"ink": "#1d2733", "muted": "#52606d", "line": "#c3ccd5", "paper": "#ffffff", "panel": "#f4f6f8",
              "good": "#0b6b3a", "doubt": "#8a5300", "bad": "#b3261e", "link": "#0b5cad"},
    "dark": {"ink": "#e6ebf0", "muted": "#a9b5c0", "line": "#46525e", "paper": "#14191f", "panel": "#1d242c",
             "good": "#5fd39a", "doubt": "#f0b95b", "bad": "#ff8a80", "link": "#7fb8f5"},
}


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[place:place + 2], 16) for place in (1, 3, 5)], float)


def mapped(value: float, low: float, high: float, stops: Sequence[str] = VALUES) -> str:
    """The colour of ``value`` on a scale from ``low`` to ``high``."""
    place = np.clip((value - low) / (high - low), 0, 1) * (len(stops) - 1) if high > low else 0.0
    first = min(int(place), len(stops) - 2)
    mixed = _rgb(stops[first]) + (_rgb(stops[first + 1]) - _rgb(stops[first])) * (place - first)
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    part = _rgb(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Contrast ratio as WCAG 2 defines it: 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on ``colour``."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))


def value_map(stops: Sequence[str] = VALUES) -> Any:
    """A scale as matplotlib's colour map."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("moevit", list(stops))


def class_map(count: int) -> Any:
    """The colours of ``count`` classes, background first, as matplotlib's colour map."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([CLASSES[index % len(CLASSES)] for index in range(count)])
