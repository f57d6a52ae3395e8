# SPDX-License-Identifier: Apache-2.0
"""A small SVG canvas: shapes, texts with a readable ink, legends. Colours follow the page's theme."""

import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from math import ceil
from struct import pack

import numpy as np

from .colours import THEMES, ink_on

__all__ = ["CHARACTER", "Canvas", "legend_height", "picture_uri", "short", "theme"]

FONT = 12  # size of all text, in the page's pixels
CHARACTER = 6.6  # width that a character of it takes at most, on average
_FAMILY = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


def theme(name: str) -> str:
    """A colour of the page's theme; the light one where there is no page around it."""
    return f"var(--{name},{THEMES['light'][name]})"


def short(value: float) -> str:
    """A number in few characters: 1.2M, 35k, 0.4."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def _columns(items: Sequence[str], width: float) -> tuple[int, float]:
    """How many items of a legend stand side by side, and the width of each."""
    each = 28 + CHARACTER * max(map(len, items), default=1)
    return max(1, min(len(items), int(width // each))), each


def legend_height(items: Sequence[str], width: float) -> int:
    """Of a legend that is ``width`` wide."""
    return ceil(len(items) / _columns(items, width)[0]) * 18


def picture_uri(image: np.ndarray) -> str:
    """A u8 (height, width, 3) picture as the data URI of a PNG."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))

    png = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
           + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b""))
    return "data:image/png;base64," + b64encode(png).decode()


class Canvas:
    """Collects shapes; ``str`` of it is the SVG. ``title`` and ``description`` say what a reader who does not see it
    must know."""

    def __init__(self, width: float, height: float, title: str, description: str):
        self.width, self.height, self.title, self.description = width, height, title, description
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, fill: str, tip: str = "",
             **attributes: object) -> None:
        shape = f'x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" height="{height:.2f}" fill="{fill}"'
        self._add("rect", shape, tip, attributes)

    def circle(self, x: float, y: float, radius: float, fill: str, tip: str = "", **attributes: object) -> None:
        self._add("circle", f'cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="{fill}"', tip, attributes)

    def line(self, points: Sequence[tuple[float, float]], colour: str = "", width: float = 1, dash: str = "") -> None:
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        attributes = {"stroke-dasharray": dash} if dash else {}
        self._add("polyline", f'points="{path}" fill="none" stroke="{colour or theme("line")}" '
                              f'stroke-width="{width:g}"', "", attributes)

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", on: str = "", muted: bool = False,
             bold: bool = False, size: float = FONT, turn: float = 0, after: str = "",
             halo: bool = False) -> None:
        """``on``: the colour under it, where that is not the page's; with ``halo`` the letters have an edge of it, for
        a picture that shines through. ``turn``: degrees, clockwise. ``after``: muted text behind it."""
        fill = ink_on(on) if on else theme("muted" if muted else "ink")
        weight = ' font-weight="600"' if bold else ""
        weight += f' transform="rotate({turn:g} {x:.2f} {y:.2f})"' if turn else ""
        weight += f' stroke="{on}" stroke-width="2.5" paint-order="stroke"' if halo else ""
        more = f'<tspan dx="10" fill="{theme("muted")}" font-weight="400">{escape(after)}</tspan>' if after else ""
        self._parts.append(f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{fill}" font-size="{size:g}"'
                           f'{weight}>{escape(text)}{more}</text>')

    def images(self, places: Sequence[tuple[float, float]], width: float, height: float, uri: str) -> None:
        """One picture, stored once, at several places."""
        name = f"p{zlib.crc32(f'{uri} {width} {self.title}'.encode()):08x}"
        self._parts.append(f'<defs><image id="{name}" width="{width:.2f}" height="{height:.2f}" href="{uri}" '
                           f'preserveAspectRatio="none"/></defs>')
        self._parts += [f'<use href="#{name}" x="{x:.2f}" y="{y:.2f}"/>' for x, y in places]

    def legend(self, x: float, y: float, width: float, entries: Mapping[str, str]) -> float:
        """A coloured square and a word for each entry; returns the height that it took."""
        count, each = _columns(list(entries), width)
        for index, (word, colour) in enumerate(entries.items()):
            left, top = x + index % count * each, y + index // count * 18
            self.rect(left, top, 12, 12, colour, stroke=theme("line"))
            self.text(left + 17, top + 10.5, word)
        return legend_height(list(entries), width)

    def _add(self, kind: str, shape: str, tip: str, attributes: Mapping[str, object]) -> None:
        more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        self._parts.append(f"<{kind} {shape}{more}><title>{escape(tip)}</title></{kind}>" if tip
                           else f"<{kind} {shape}{more}/>")

    def __str__(self) -> str:
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
                f'width="{self.width:g}" height="{self.height:g}" role="img" '
                f'aria-label="{escape(self.title, quote=True)}" font-family="{_FAMILY}">'
                f"<title>{escape(self.title)}</title><desc>{escape(self.description)}</desc>"
                f'<rect width="100%" height="100%" fill="{theme("paper")}"/>' + "".join(self._parts) + "</svg>")
