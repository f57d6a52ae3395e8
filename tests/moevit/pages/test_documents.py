# SPDX-License-Identifier: Apache-2.0
"""The generated pages and pictures of ``docs/`` are what the code makes now."""

from pathlib import Path

from moevit.pages.documents import documents, left_over
from moevit.pages.machine_picture import BOXES

ROOT = Path(__file__).resolve().parents[3]


def test_files_are_current():
    """One test, since it elaborates the hardware: two workers would do it twice."""
    texts = documents(ROOT)
    old = [name for name, text in texts.items()
           if not (ROOT / "docs" / name).is_file() or (ROOT / "docs" / name).read_text() != text]
    assert not old and not left_over(ROOT, texts), f"run `make docs`: {', '.join(old)}"
    for name, text in texts.items():
        assert not name.endswith(".svg") or "<title>" in text and 'role="img"' in text, f"{name} has no text"


def test_boxes_are_files():
    assert all((ROOT / box.file).is_file() for box in BOXES.values())
