# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from moevit.kit.output import make_room


def test_the_folder_is_made_and_nothing_else(tmp_path):
    make_room(tmp_path / "a" / "b" / "file")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_a_file_stays_as_it_is(tmp_path):
    path = tmp_path / "file"
    path.write_text("kept")
    make_room(path)
    assert path.read_text() == "kept"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
        with pytest.raises(OSError, match=f"{place} cannot be written"):
            make_room(place)


def test_a_file_that_may_not_be_written(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("kept")
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root every file may be
    with pytest.raises(OSError, match=f"{path} cannot be written"):
        make_room(path)
    assert path.read_text() == "kept"
