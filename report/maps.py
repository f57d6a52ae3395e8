# SPDX-License-Identifier: Apache-2.0
"""What happens to each patch, over the picture: the expert that it goes to, the attention that it gets."""

from collections.abc import Iterator, Mapping
from math import ceil

import numpy as np

from .colours import EXPERTS, mapped
from .svg import CHARACTER, Canvas, picture_uri

__all__ = ["attention", "routing"]

_HEAD, _GAP = 20, 10
_NARROW = 500  # below it, routes stand one in a line, so that their numbers can be read
_PIXELS = 320  # of a side of the picture, about: more cannot be seen in a tile


class _Tiles:
    """Pictures side by side, ``most`` in a line, each with a caption; the first is the picture itself."""

    def __init__(self, image: np.ndarray, captions: list[str], width: float, title: str, description: str,
                 most: int = 100):
        height, wide, _ = image.shape
        least = max(150.0 if width > 500 else 110.0, CHARACTER * max(map(len, captions)) + 6)
        self.across = max(1, min(most, len(captions), int((width + _GAP) // (least + _GAP))))
        self.width = min(360.0 if self.across == 1 else 300.0, (width - _GAP * (self.across - 1)) / self.across)
        self.height = self.width * height / wide
        lines = ceil(len(captions) / self.across)
        self.canvas = Canvas(width, lines * (_HEAD + self.height + _GAP), title, description)
        places = [self.corner(index) for index in range(len(captions))]
        for (x, y), caption in zip(places, captions, strict=True):
            self.canvas.text(x, y - 6, caption)
        step = max(1, max(image.shape) // _PIXELS)
        self.canvas.images(places, self.width, self.height, picture_uri(np.ascontiguousarray(image[::step, ::step])))

    def corner(self, index: int) -> tuple[float, float]:
        return (index % self.across * (self.width + _GAP),
                _HEAD + index // self.across * (_HEAD + self.height + _GAP))

    def cells(self, index: int, grid: tuple[int, ...]) -> Iterator[tuple[int, int, float, float, float, float]]:
        """Row, column and corner of each patch of a tile, and the size of a patch."""
        x, y = self.corner(index)
        high, wide = self.height / grid[0], self.width / grid[1]
        for row in range(grid[0]):
            for column in range(grid[1]):
                yield row, column, x + wide * column, y + high * row, wide, high


def routing(image: np.ndarray, maps: Mapping[str, np.ndarray], width: float, title: str) -> str:
    """``maps``: the first expert (rows, columns) of each patch, by caption. Experts have colours, and numbers where
    there is room."""
    tiles = _Tiles(image, ["picture", *maps], width, title,
                   "Patches in the colour of their first expert. " + ". ".join(
                       f"{caption}: experts {', '.join(map(str, np.unique(each)))}" for caption, each in maps.items()),
                   1 if width < _NARROW else 100)
    for index, each in enumerate(maps.values(), 1):
        for row, column, x, y, wide, high in tiles.cells(index, each.shape):
            expert = int(each[row, column])
            colour = EXPERTS[expert % len(EXPERTS)]
            tiles.canvas.rect(x, y, wide, high, colour, fill_opacity=0.45)
            size = min(11.0, wide / (0.62 * len(str(expert))), 0.8 * high)
            if size >= 7:
                tiles.canvas.text(x + wide / 2, y + high / 2 + size * 0.36, str(expert), anchor="middle", on=colour,
                                  size=size, halo=True)
    used = sorted({int(expert) for each in maps.values() for expert in np.unique(each)})
    return _with_legend(tiles.canvas, {f"{expert}": EXPERTS[expert % len(EXPERTS)] for expert in used})


def attention(image: np.ndarray, maps: Mapping[str, np.ndarray], query: tuple[int, int] | None, width: float,
              title: str) -> str:
    """``maps``: what each patch (rows, columns) weighs for the query, by caption, each on its own scale: light patches
    weigh most. ``query``: the patch that looks, framed; None if it is the class token."""
    who = f"the patch in row {query[0]}, column {query[1]}" if query else "the class token"
    tiles = _Tiles(image, ["picture", *maps], width, title, f"Attention of {who}. " + ". ".join(
        f"{caption}: most at row {each.argmax() // each.shape[1]}, column {each.argmax() % each.shape[1]}"
        for caption, each in maps.items()))
    for index, each in enumerate(maps.values(), 1):
        for row, column, x, y, wide, high in tiles.cells(index, each.shape):
            tiles.canvas.rect(x, y, wide, high, mapped(float(each[row, column]), 0, float(each.max())),
                              fill_opacity=0.7)
            if query == (row, column):
                tiles.canvas.rect(x, y, wide, high, "none", "the patch that looks", stroke="#ffffff", stroke_width=2)
    return str(tiles.canvas)


def _with_legend(canvas: Canvas, entries: Mapping[str, str]) -> str:
    top = canvas.height + 2
    canvas.text(0, top + 10.5, "expert", muted=True)
    canvas.height = top + canvas.legend(50, top, canvas.width - 50, entries) + 4
    return str(canvas)
