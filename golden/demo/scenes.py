# SPDX-License-Identifier: Apache-2.0
"""Small labelled scenes like street signs, composed from pictures in Python packages.

A scene is a crop of a photograph (scikit-image) with handwritten digits (scikit-learn) on coloured cards. A nearer card
is larger and brighter, and hides the cards behind it. Nothing is downloaded. All photographs are losslessly compressed,
so a scene is the same on every computer.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage import data
from sklearn.datasets import load_digits

from moevit.spec.networks import NETWORKS

__all__ = ["BACKGROUND_DEPTH", "CLASSES", "COVERAGE", "Card", "Scene", "SceneError", "Scenes"]

CLASSES = ("background", *"0123456789")
BACKGROUND_DEPTH = 1.0
COVERAGE = 0.5  # of a patch's pixels; a patch with less is background
GRID = 4  # pixels; positions and sizes of cards are multiples of it
CARD_SIZES = (24, 40)  # pixels, farthest and nearest
CARD_DEPTHS = (0.8, 0.1)  # farthest and nearest
CARDS = (3, 5)  # fewest and most that are tried in a scene
VISIBLE = 0.6  # of a card; with less, it is placed elsewhere
TRIES = 8
SEED = 2305

PHOTOS = {
    "train": ("astronaut", "coffee", "immunohistochemistry", "brick", "gravel", "coins", "moon"),
    "test": ("chelsea", "camera", "grass"),
}
TEST_DIGITS = 360  # of 1797

_HEIGHT, _WIDTH, _PATCH = NETWORKS["demo"].height, NETWORKS["demo"].width, NETWORKS["demo"].patch


class SceneError(ValueError):
    """A split or an index that does not exist.

    Fix: use the split ``train`` or ``test`` and an index from 0.
    """


@dataclass(frozen=True, kw_only=True)
class Card:
    """A digit in a scene. ``source`` is its index in scikit-learn's digits. Pixels count from the top left."""

    source: int
    digit: int
    depth: float
    size: int
    top: int
    left: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One picture and its labels.

    ``image`` u8 (H, W, 3). ``semseg`` int64 (patches,): 0 is background, 1 + d is digit d. ``depth`` float32 (patches,)
    in [0, 1]. Both labels belong to the card that shows most in the patch, if it covers at least `COVERAGE` of it.
    ``owner`` int8 (H, W): the index in ``cards`` (nearest first) of the card at a pixel, or -1. ``background``: the
    photograph.
    """

    image: NDArray[np.uint8]
    semseg: NDArray[np.int64]
    depth: NDArray[np.float32]
    owner: NDArray[np.int8]
    background: NDArray[np.uint8]
    cards: tuple[Card, ...]


class Scenes:
    """An endless, repeatable sequence of scenes: ``Scenes("test")[7]`` is always the same scene.

    The splits share neither digits nor photographs. Raises SceneError for another split or a negative index.
    """

    def __init__(self, split: Literal["train", "test"]) -> None:
        if split not in PHOTOS:
            raise SceneError(f"there is no split {split!r}: use 'train' or 'test'")
        self.split = split
        self.photos = tuple(level for name in PHOTOS[split] for level in _levels(name))
        shuffled = np.random.default_rng(SEED).permutation(len(_digits()[0]))
        self.sources = shuffled[:TEST_DIGITS] if split == "test" else shuffled[TEST_DIGITS:]

    def __getitem__(self, index: int) -> Scene:
        if index < 0:
            raise SceneError(f"scenes are counted from 0, not {index}")
        rng = np.random.default_rng((SEED, list(PHOTOS).index(self.split), index))
        background = self._photo(rng)
        cards, owner = self._place(rng)
        image = background.copy()
        for number, card in enumerate(cards):
            window = slice(card.top, card.top + card.size), slice(card.left, card.left + card.size)
            seen = owner[window] == number
            image[window][seen] = _paint(card, rng)[seen]
        semseg, depth = _label(cards, owner)
        return Scene(image=image, semseg=semseg, depth=depth, owner=owner, background=background, cards=cards)

    def batch(self, start: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
        """Scenes ``start .. start + count - 1``: images (B, H, W, 3), semseg (B, patches), depth (B, patches)."""
        patches = NETWORKS["demo"].patches
        images = np.empty((count, _HEIGHT, _WIDTH, 3), np.uint8)
        semseg, depth = np.empty((count, patches), np.int64), np.empty((count, patches), np.float32)
        for row in range(count):
            scene = self[start + row]
            images[row], semseg[row], depth[row] = scene.image, scene.semseg, scene.depth
        return images, semseg, depth

    def _photo(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        photo = self.photos[rng.integers(len(self.photos))]
        top = rng.integers(photo.shape[0] - _HEIGHT + 1)
        left = rng.integers(photo.shape[1] - _WIDTH + 1)
        crop = photo[top : top + _HEIGHT, left : left + _WIDTH]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return (crop * np.float32(rng.uniform(0.4, 0.8))).astype(np.uint8)

    def _place(self, rng: np.random.Generator) -> tuple[tuple[Card, ...], NDArray[np.int8]]:
        """Cards from near to far, each at a place where enough of it shows. A card without such a place is left out."""
        _, digits = _digits()
        owner = np.full((_HEIGHT, _WIDTH), -1, np.int8)
        cards: list[Card] = []
        for nearness in np.sort(rng.random(rng.integers(CARDS[0], CARDS[1] + 1)))[::-1]:
            size = GRID * round((CARD_SIZES[0] + nearness * (CARD_SIZES[1] - CARD_SIZES[0])) / GRID)
            depth = float(CARD_DEPTHS[0] + nearness * (CARD_DEPTHS[1] - CARD_DEPTHS[0]))
            source = int(self.sources[rng.integers(len(self.sources))])
            for _ in range(TRIES):
                top, left = (GRID * int(rng.integers((side - size) // GRID + 1)) for side in (_HEIGHT, _WIDTH))
                window = owner[top : top + size, left : left + size]
                free = window < 0
                if free.mean() >= VISIBLE:
                    window[free] = len(cards)
                    cards.append(Card(source=source, digit=int(digits[source]), depth=depth, size=size, top=top,
                                      left=left))
                    break
        return tuple(cards), owner


def _paint(card: Card, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The card as pixels (size, size, 3): dark ink on light paper, both tinted, and dimmer for farther cards."""
    images, _ = _digits()
    stretch = _stretch(card.size)
    full = 16 * (2 * card.size) ** 2
    ink = np.clip(1.4 * (stretch @ images[card.source] @ stretch.T / full) - 0.2, 0, 1)[..., None]
    light = 1.0 - 0.6 * card.depth
    paper, dark = (255 * light * rng.uniform((0.7, 0.0), (1.0, 0.35), (3, 2)).T).astype(np.float32)
    return (paper + (dark - paper) * ink).astype(np.uint8)


def _label(cards: tuple[Card, ...], owner: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    patches = owner.reshape(_HEIGHT // _PATCH, _PATCH, _WIDTH // _PATCH, _PATCH).swapaxes(1, 2).reshape(-1, _PATCH**2)
    cover = np.stack([(patches == number).mean(1) for number in range(len(cards))])
    seen, covered = cover.argmax(0), cover.max(0) >= COVERAGE
    classes = np.array([1 + card.digit for card in cards])
    depths = np.array([card.depth for card in cards], np.float32)
    return (np.where(covered, classes[seen], 0),
            np.where(covered, depths[seen], np.float32(BACKGROUND_DEPTH)))


@cache
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All digits (1797, 8, 8) as whole numbers 0..16, where 16 is ink, and their classes."""
    digits = load_digits()
    return digits.images.astype(np.float32), digits.target


@cache
def _stretch(size: int) -> NDArray[np.float32]:
    """Bilinear interpolation from 8 to ``size`` samples, with aligned pixel centres, as a matrix (size, 8).

    The weights are whole numbers that add up to ``2 * size``, so sums are exact in any order of addition.
    """
    at = np.clip(8 * (2 * np.arange(size) + 1) - size, 0, 7 * 2 * size)
    return np.maximum(0, 2 * size - np.abs(at[:, None] - 2 * size * np.arange(8))).astype(np.float32)


@cache
def _levels(name: str) -> tuple[NDArray[np.float32], ...]:
    """A photograph at 1, 1/2, 1/3, 1/4 of its size by box averaging, RGB. Sizes smaller than a scene are left out."""
    photo = getattr(data, name)()
    photo = np.repeat(photo[..., None], 3, axis=2) if photo.ndim == 2 else photo
    levels = []
    for step in (1, 2, 3, 4):
        height, width = photo.shape[0] // step, photo.shape[1] // step
        if height >= _HEIGHT and width >= _WIDTH:
            boxes = photo[: height * step, : width * step].reshape(height, step, width, step, 3)
            levels.append(boxes.mean(axis=(1, 3), dtype=np.float32))
    return tuple(levels)
