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
    high, low = log10(2 * peak), log10(max(peak / 1e4, slowest / 2))
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

    _grid(canvas, at, (left, right), (low, high), box)
    for index, (name, bandwidth) in enumerate(memories.items()):
        ridge = ridges[name]
        start = max(10**left, 10**low / bandwidth)
        canvas.line([at(start, bandwidth * start), at(ridge, peak), at(10**right, peak)], theme("ink"), 1.6,
                    "6 4" if index else "")
        x, y = at(ridge, peak)
        canvas.text(min(x, box[2] - 150), y + 18 + 16 * index, f"{name}: ridge {ridge:.3g}", muted=True)
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
          up: tuple[float, float], box: tuple[float, float, float]) -> None:
    for low, high, horizontal in ((*across, True), (*up, False)):
        for exponent in range(int(low) - 1, int(high) + 2):
            for factor in (1, 10**0.5) if high - low < 2 else (1,):
                value = factor * 10.0**exponent
                if low <= log10(value) <= high:
                    x, y = at(value, 10 ** up[0]) if horizontal else at(10 ** across[0], value)
                    canvas.line([(x, y), (x, box[1])] if horizontal else [(x, y), (box[2], y)])
                    label = short(value if factor == 1 else round(value, -exponent + 1 if exponent < 1 else 0))
                    canvas.text(x if horizontal else x - 5, y + (15 if horizontal else 4), label, muted=True,
                                anchor="middle" if horizontal else "end")
