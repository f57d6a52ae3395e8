# SPDX-License-Identifier: Apache-2.0
"""Small pictures as SVG text. Letters stand on light boxes or in a grey that can be read on white and on black."""

from collections.abc import Sequence
from html import escape

__all__ = ["GREY", "INK", "arrow", "box", "drawing", "label"]

INK, GREY = "#1b1f24", "#7a7f87"
_FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', sans-serif\""


def label(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = GREY,
          bold: bool = False) -> str:
    """A line of text whose baseline begins, ends or has its middle at (x, y)."""
    weight = ' font-weight="600"' if bold else ""
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>'
            f"{escape(text)}</text>")


def box(x: float, y: float, width: float, height: float, title: str, lines: Sequence[str] = (), *,
        fill: str = "#dbe7f5", link: str = "", size: int = 13) -> str:
    """A box with a title and smaller lines below it; ``link``: where a click on it leads."""
    parts = [f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" '
             f'stroke="#5b6470"/>']
    top = y + height / 2 - 7.5 * len(lines) + 4.5
    parts.append(label(x + width / 2, top, title, size=size, anchor="middle", colour=INK, bold=True))
    parts += [label(x + width / 2, top + 15 * (index + 1), line, size=11, anchor="middle", colour=INK)
              for index, line in enumerate(lines)]
    drawn = "".join(parts)
    if not link:
        return drawn
    return f'<a href="{escape(link)}" style="text-decoration:none"><title>{escape(link)}</title>{drawn}</a>'


def arrow(*points: tuple[float, float], dashed: bool = False) -> str:
    """A line through ``points`` with a head at the last one."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (f'<polyline points="{path}" fill="none" stroke="{GREY}" stroke-width="1.6"{dashes} '
            'marker-end="url(#head)"/>')


def drawing(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """A whole SVG file. ``title`` is read to who does not see the picture."""
    head = (f'<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/></marker>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'role="img" aria-label="{escape(title)}" {_FONT}>\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n'
            f"<title>{escape(title)}</title><defs>{head}</defs>\n" + "\n".join(parts) + "\n</svg>\n")
