# SPDX-License-Identifier: Apache-2.0
"""The page of supported layers says what the importers do."""

import re

import pytest

from moevit.golden.importers import FAMILIES
from moevit.golden.importers.errors import Unsupported
from moevit.golden.importers.refusals import REFUSALS, refuse
from moevit.pages.layers import example, layers


@pytest.mark.parametrize("pattern", REFUSALS)
def test_a_shown_tensor_is_refused(pattern):
    name = next(each for end in ("", ".weight") for start in ("", "blocks.0.")
                if re.search(pattern, each := f"{start}{example(pattern)}{end}"))
    with pytest.raises(Unsupported, match=re.escape(name)):
        refuse([name, "pos_embed"])


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_shown_tensor_is_of_its_family(family):
    assert re.fullmatch(family.keys[0], example(family.keys[0]).replace("...", "a").removesuffix("."))


def test_every_refusal_and_family_is_on_the_page():
    text = layers()
    assert text.count("| no |") == len(REFUSALS)
    assert all(f"| `{name}` |" in text for name in FAMILIES)
