# SPDX-License-Identifier: Apache-2.0
"""Colours that everybody can tell apart, and texts that can be read on them."""

from itertools import combinations

import numpy as np
import pytest

from moevit.host.report import KINDS
from moevit.report import colours
from moevit.spec.registers import COUNTERS

#: How linear RGB is seen: Machado, Oliveira, Fernandes, 2009, severity 1.
SIGHT = {
    "all colours": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
APART = 15  # in CIE L*a*b*; a difference of 2.3 is just seen when colours lie side by side
PALETTES = {"kinds": tuple(colours.KIND_COLOURS.values()), "stalls": tuple(colours.STALL_COLOURS.values()),
            "experts": colours.EXPERTS, "classes": colours.CLASSES}


def lab(colour: str, sight: str) -> np.ndarray:
    part = np.array([int(colour[place:place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175],
                    [0.0193339, 0.119192, 0.9503041]]) @ seen / [0.95047, 1, 1.08883]
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("palette", PALETTES)
def test_categories_are_told_apart(palette, sight):
    for one, other in combinations(PALETTES[palette], 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > APART, (one, other)


@pytest.mark.parametrize("sight", SIGHT)
def test_a_scale_gets_lighter_all_the_way(sight):
    lightness = [lab(colours.mapped(value, 0, 1), sight)[0] for value in np.linspace(0, 1, 20)]
    assert (np.diff(lightness) > 0).all()


def test_texts_on_colours_are_readable():
    scale = [colours.mapped(value, 0, 1) for value in np.linspace(0, 1, 200)]
    for colour in (*scale, *(each for palette in PALETTES.values() for each in palette)):
        assert colours.contrast(colours.ink_on(colour), colour) >= 4.5, colour
    assert colours.contrast("#000000", "#ffffff") == 21


def test_themes_name_the_same_colours():
    assert colours.THEMES["light"].keys() == colours.THEMES["dark"].keys()


def test_everything_that_is_drawn_has_a_colour():
    assert set(colours.KIND_COLOURS) == set(KINDS.values())
    waits = {name for name, _ in COUNTERS if name == "BUSY" or name.startswith("WAIT_")}
    assert set(colours.STALL_COLOURS) == set(colours.STALL_WORDS) == waits


def test_matplotlib_has_the_same_colours():
    from matplotlib.colors import to_hex

    for stops in (colours.VALUES, colours.DEPTH):
        for value in (0.0, 0.3, 0.77, 1.0):
            ours = colours.mapped(value, 0, 1, stops)
            theirs = to_hex(colours.value_map(stops)(value))
            assert all(abs(int(ours[at:at + 2], 16) - int(theirs[at:at + 2], 16)) <= 3 for at in (1, 3, 5))
    assert to_hex(colours.class_map(11)(0)) == colours.CLASSES[0]


def test_near_is_light():
    assert lab(colours.DEPTH[0], "all colours")[0] > lab(colours.DEPTH[-1], "all colours")[0]
