# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file without scripts, fonts or addresses, in the reader's theme, at any width."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from .colours import THEMES

__all__ = ["NARROW", "WIDE", "Section", "Headline", "absent", "chart", "page", "paragraph", "table"]

#: Widths in pixels that each drawing is made for; the page shows the one that fits.
WIDE, NARROW = 1120, 360


class Headline(NamedTuple):
    """``state``: good, doubt or bad; the verdict in a few words; a sentence; figures by their name; what is in doubt, a
    line each."""

    state: str
    words: str
    sentence: str
    figures: Mapping[str, str] = {}
    doubts: Sequence[str] = ()


class Section(NamedTuple):
    """``about``: what the drawing shows and where its data are from. ``body``: HTML."""

    title: str
    about: str
    body: str


def chart(draw: Callable[[float], str]) -> str:
    """A drawing for wide and for narrow pages. ``draw`` makes it for a width."""
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def absent(title: str, why: str) -> Section:
    """A section whose data are not there."""
    return Section(title, "", f'<p class="absent">Not shown. {escape(why)}</p>')


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows of a name and values; the values after the first are set to the right."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headers)
    body = "".join(f'<tr><th scope="row">{escape(str(row[0]))}</th>'
                   + "".join(f"<td>{escape(str(each))}</td>" for each in row[1:]) + "</tr>" for row in rows)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table>'
            f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")


def page(title: str, headline: Headline, sections: Sequence[Section]) -> str:
    """The HTML file."""
    links = "".join(f'<li><a href="#s{index}">{escape(each.title)}</a></li>' for index, each in enumerate(sections))
    parts = "".join(f'<section id="s{index}" aria-labelledby="h{index}"><h2 id="h{index}">{escape(each.title)}</h2>'
                    + (f'<p class="about">{escape(each.about)}</p>' if each.about else "") + each.body + "</section>\n"
                    for index, each in enumerate(sections))
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
            f"<style>{_css()}</style></head>\n<body><header><h1>{escape(title)}</h1>{_verdict(headline)}</header>\n"
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{parts}</main></body></html>\n')


def _verdict(headline: Headline) -> str:
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
                      for name, value in headline.figures.items())
    doubts = "".join(f"<li>{escape(each)}</li>" for each in headline.doubts)
    sentence = f"<strong>{escape(headline.words)}</strong> {escape(headline.sentence)}"
    return (f'<p class="verdict {headline.state}">{sentence}</p>'
            + (f'<ul class="doubts">{doubts}</ul>' if doubts else "") + (f"<dl>{figures}</dl>" if figures else ""))


def _css() -> str:
    light, dark = ("".join(f"--{name}:{colour};" for name, colour in THEMES[theme].items()) for theme in THEMES)
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}" + _STYLE


_STYLE = """
*{box-sizing:border-box}
body{color:var(--ink);background:var(--paper);margin:0 auto;max-width:1160px;padding:24px 20px;font:16px/1.5 system-ui,
-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 12px;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:40px 0 4px}
p{margin:6px 0 12px;max-width:75ch;overflow-wrap:anywhere}
.about,caption,dt{color:var(--muted);background:var(--paper)}
.absent{color:var(--muted);background:var(--panel);padding:8px 12px;border-left:4px solid var(--line)}
.verdict{color:var(--ink);background:var(--panel);border-left:6px solid;padding:12px 16px;font-size:1.1rem;
max-width:none}
.verdict.good{border-color:var(--good)}.verdict.doubt{border-color:var(--doubt)}.verdict.bad{border-color:var(--bad)}
.good strong{color:var(--good);background:var(--panel)}
.doubt strong{color:var(--doubt);background:var(--panel)}
.bad strong{color:var(--bad);background:var(--panel)}
.doubts{margin:0 0 12px;padding-left:24px}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px 20px;margin:16px 0}
dt{font-size:.85rem}
dd{margin:0;font-size:1.2rem;font-weight:600}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;padding:0;margin:16px 0 0}
a{color:var(--link);background:var(--paper)}
svg{display:block;max-width:100%;height:auto;margin:4px 0 12px}
.narrow{display:none}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin:8px 0 12px}
caption{text-align:left;padding-bottom:4px;white-space:nowrap}
th,td{padding:3px 14px 3px 0;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th:first-child{text-align:left;font-weight:400}
thead th{color:var(--muted);background:var(--paper);font-weight:400}
.facts td,.facts th{text-align:left}
.facts td{overflow-wrap:anywhere;font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:.8rem}
.facts table{width:100%}
@media (max-width:760px){.wide{display:none}.narrow{display:block}body{padding:16px}
h1{font-size:1.35rem}dl{grid-template-columns:1fr 1fr}}
@media print{nav{display:none}section{break-inside:avoid}}
"""
