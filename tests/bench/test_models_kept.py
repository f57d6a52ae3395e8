# SPDX-License-Identifier: Apache-2.0
"""Arrays kept piece by piece: finished pieces are read, unfinished ones are made again."""

import numpy as np
import pytest

from moevit.bench.models import kept
from moevit.bench.models.kept import PIECE, digest, kept_arrays, sources

COUNT = 2 * PIECE + 5


def squares(made):
    def make(missing):
        for start, stop in missing:
            made.append((start, stop))
            yield {"square": np.arange(start, stop) ** 2, "few": np.arange(start, stop)[: max(0, 3 - start)]}
    return make


def test_pieces_are_put_together(tmp_path):
    made, done = [], []
    arrays = kept_arrays(tmp_path / "a", COUNT, squares(made), done.append)
    assert np.array_equal(arrays["square"], np.arange(COUNT) ** 2) and arrays["few"].tolist() == [0, 1, 2]
    assert made == [(0, PIECE), (PIECE, 2 * PIECE), (2 * PIECE, COUNT)] and sum(done) == COUNT
    again = kept_arrays(tmp_path / "a", COUNT, squares(made), done.append)
    assert len(made) == 3 and np.array_equal(again["square"], arrays["square"]) and sum(done) == 2 * COUNT


def test_a_run_that_stops_goes_on_where_it_was(tmp_path):
    def stops(missing):
        yield from list(squares(made)(missing[:1]))
        raise KeyboardInterrupt

    made = []
    with pytest.raises(KeyboardInterrupt):
        kept_arrays(tmp_path, COUNT, stops)
    made.clear()
    arrays = kept_arrays(tmp_path, COUNT, squares(made))
    assert made == [(PIECE, 2 * PIECE), (2 * PIECE, COUNT)]
    assert np.array_equal(arrays["square"], np.arange(COUNT) ** 2)


def test_half_a_piece_does_not_count(tmp_path, monkeypatch):
    def breaks(path, arrays):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(kept, "write_npz", breaks)
    with pytest.raises(OSError, match="no space"):
        kept_arrays(tmp_path, PIECE, squares([]))
    monkeypatch.undo()
    assert np.array_equal(kept_arrays(tmp_path, PIECE, squares([]))["square"], np.arange(PIECE) ** 2)


def test_digest_tells_apart():
    array = np.arange(6, dtype=np.int16)
    parts = [(array,), (array.reshape(2, 3),), (array.view(np.uint16),), (array, 1), (array, "1"), (b"ab", b"c"),
             (b"a", b"bc"), (b"abc",)]
    assert len({digest(*each) for each in parts}) == len(parts)
    assert digest(array, {"a": 1}) == digest(array.copy(), {"a": 1})


def test_sources_are_of_all_files(tmp_path):
    class Package:
        __path__ = [str(tmp_path)]

    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.py").write_text("1")
    before = sources(Package)
    (tmp_path / "below" / "a.py").write_text("2")
    assert sources(Package) != before
