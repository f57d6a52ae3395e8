# SPDX-License-Identifier: Apache-2.0
"""How near each pass comes to what array and memory allow."""

from collections.abc import Callable, Mapping, Sequence
from math import inf, isinf, log10, sqrt
from typing import NamedTuple

from .colours import KIND_COLOURS
from .svg import Canvas, legend_height, short, theme

__all__ = ["Pass", "roofline"]


class Pass(NamedTuple):
    """A pass: its kind (a key of `KIND_COLOURS`), multiply-accumulates, bytes from memory, cycles."""

    name: str
    kind: str
    macs: int
    bytes: int
    cycles: float

    @property
    def intensity(self) -> float:
        return self.macs / self.bytes if self.bytes else inf


def roofline(passes: Sequence[Pass], peak: float, memories: Mapping[str, float], width: float, title: str) -> str:
    """Multiply-accumulates per cycle over those per byte, both logarithmic. ``peak`` of the array, ``memories``: bytes
    per cycle by name; where its slope meets the peak is the ridge. A pass that reads nothing stands at the right edge;
    a circle's area is the share of the cycles."""
    passes = [each for each in passes if each.macs and each.cycles > 0]
    ridges = {name: peak / bandwidth for name, bandwidth in memories.items()}
    finite = [each.intensity for each in passes if not isinf(each.intensity)]
    right = log10(2.5 * max([*finite, *ridges.values()]))
    left = log10(min([*finite, *ridges.values()]) / 3)
    slowest = min((each.macs / each.cycles for each in passes), default=1.0)
    high, low = log10(1.4 * peak), log10(min(peak / 8, max(peak / 1024, slowest / 2)))
    kinds = {kind: colour for kind, colour in KIND_COLOURS.items() if any(each.kind == kind for each in passes)}
    legend = legend_height(list(kinds), width)
    plot, box = min(380.0, width * 0.8), (44.0, 8.0, width - 12)
    described = ", ".join(f"{name} {bandwidth:.3g} bytes a cycle, ridge at {ridges[name]:.3g}"
                          for name, bandwidth in memories.items())
    canvas = Canvas(width, plot + 66 + legend, title, f"The array does {peak:g} multiply-accumulates a cycle. "
                    f"{described}. {len(passes)} passes.")

    def at(intensity: float, rate: float) -> tuple[float, float]:
        across = (min(log10(intensity), right) - left) / (right - left) if not isinf(intensity) else 1.0
        up = (max(log10(rate), low) - low) / (high - low)
        return box[0] + across * (box[2] - box[0]), box[1] + (1 - up) * (plot - box[1])

    _grid(canvas, at, (left, right), (low, high), box, peak)
    for index, (name, bandwidth) in enumerate(memories.items()):
        ridge = ridges[name]
        start = max(10**left, 10**low / bandwidth)
        canvas.line([at(start, bandwidth * start), at(ridge, peak), at(10**right, peak)], theme("ink"), 1.6,
                    "6 4" if index else "")
        y = plot - 14 - 17 * index
        canvas.line([(box[2] - 30, y - 4), (box[2] - 2, y - 4)], theme("ink"), 1.6, "6 4" if index else "")
        canvas.text(box[2] - 36, y, f"{name}: ridge at {ridge:.3g}", anchor="end", muted=True)
    x, y = at(10**right, peak)
    canvas.text(x, y - 5, f"array: {peak:g} a cycle", anchor="end", muted=True)
    total = sum(each.cycles for each in passes)
    for each in sorted(passes, key=lambda each: -each.cycles):
        rate = each.macs / each.cycles
        canvas.circle(*at(each.intensity, rate), max(2.5, 40 * sqrt(each.cycles / total)), "none",
                      f"{each.name}: {short(rate)} a cycle, {each.cycles:,.0f} cycles", stroke=kinds[each.kind],
                      stroke_width=2)
    canvas.text((box[0] + box[2]) / 2, plot + 34, "multiply-accumulates per byte from memory", anchor="middle",
                muted=True)
    canvas.legend(0, plot + 50, width, kinds)
    return str(canvas)


def _grid(canvas: Canvas, at: Callable[[float, float], tuple[float, float]], across: tuple[float, float],
          up: tuple[float, float], box: tuple[float, float, float], peak: float) -> None:
    """Lines at 1, 2, 5 times powers of ten across, at halves of ``peak`` up."""
    for exponent in range(int(across[0]) - 1, int(across[1]) + 2):
        for factor in (1, 2, 5):
            value = factor * 10.0**exponent
            if across[0] <= log10(value) <= across[1]:
                x, y = at(value, 10 ** up[0])
                canvas.line([(x, y), (x, box[1])])
                canvas.text(x, y + 15, f"{value:g}", anchor="middle", muted=True)
    value = peak
    while log10(value) > up[0]:
        x, y = at(10 ** across[0], value)
        canvas.line([(x, y), (box[2], y)])
        canvas.text(x - 5, y + 4, f"{value:g}", anchor="end", muted=True)
        value /= 2
