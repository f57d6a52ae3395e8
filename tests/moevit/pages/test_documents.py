# SPDX-License-Identifier: Apache-2.0
"""The generated pages and pictures of ``docs/`` are what the code makes now."""

from pathlib import Path

import pytest

from moevit.pages.documents import documents, left_over
from moevit.pages.machine_picture import BOXES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def texts():
    return documents(ROOT)


def test_every_file_is_current(texts):
    old = [name for name, text in texts.items()
           if not (ROOT / "docs" / name).is_file() or (ROOT / "docs" / name).read_text() != text]
    assert not old, f"run `make docs`: {', '.join(old)}"


def test_no_file_is_left_over(texts):
    assert not left_over(ROOT, texts), "run `make docs`"


def test_boxes_are_files():
    assert all((ROOT / box.file).is_file() for box in BOXES.values())


def test_pictures_have_a_text(texts):
    for name, text in texts.items():
        if name.endswith(".svg"):
            assert "<title>" in text and 'role="img"' in text, name
