# SPDX-License-Identifier: Apache-2.0
"""The release archive: packed files come out unchanged, and a changed file is refused."""

import json
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from moevit.kit import release
from moevit.kit.release import MANIFEST, ReleaseError, pack, unpack, verify, verify_folder

FILES = {"a.txt": b"a", "wheels/b.whl": bytes(1000), "verify.py": Path(release.__file__).read_bytes()}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "release.zip"
    pack(path, FILES, {"name": "moevit for a board"})
    return path


def rewritten(path, change):
    """The archive with its entries as ``change`` makes them: a list of (name in the folder, content)."""
    with zipfile.ZipFile(path) as old:
        entries = [(name.removeprefix("release/"), old.read(name)) for name in old.namelist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, content in change(entries):
            new.writestr(zipfile.ZipInfo(f"release/{name}"), content)
    return path


def test_everybody_may_read_it_and_it_unpacks_into_one_folder(archive):
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            assert entry.external_attr >> 16 == 0o100644 and entry.create_system == 3, entry.filename
            assert entry.filename.startswith("release/") and entry.date_time[0] == 1980


@pytest.mark.parametrize("names", [["a.txt"], ["a/b", "c/d"], ["manifest.json", "release/a"]])
def test_files_that_are_not_in_one_folder(tmp_path, names):
    path = tmp_path / "release.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    with pytest.raises(ReleaseError, match="not all files in one folder"):
        verify(path)


def test_it_comes_out_as_it_went_in(archive, tmp_path):
    manifest = unpack(archive, tmp_path / "out")
    assert manifest == verify(archive) == verify_folder(tmp_path / "out")
    assert manifest["name"] == "moevit for a board" and set(manifest["files"]) == set(FILES)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES
    with pytest.raises(ReleaseError, match="not empty"):
        unpack(archive, tmp_path / "out")


def test_any_byte_may_be_damaged(tmp_path):
    path = tmp_path / "small.zip"
    pack(path, {"a": b"aab" * 9}, {})
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1:])
        with suppress(ReleaseError):  # some bytes, as those of the date, say nothing of the files
            assert verify(path)["files"].keys() == {"a"}


def test_a_folder_that_cannot_be_written(archive, tmp_path):
    for folder in (archive, archive / "below"):
        with pytest.raises(ReleaseError, match="cannot be written"):
            unpack(archive, folder)


def test_the_same_bytes_every_time(archive, tmp_path):
    (tmp_path / "again").mkdir()
    pack(tmp_path / "again" / archive.name, dict(reversed(FILES.items())), {"name": "moevit for a board"})
    assert (tmp_path / "again" / archive.name).read_bytes() == archive.read_bytes()


def changed(entries):
    return [(name, b"b" if name == "a.txt" else content) for name, content in entries]


def named(name):
    def change(entries):
        manifest = json.loads(dict(entries)[MANIFEST])
        manifest["files"][name] = manifest["files"].pop("a.txt")
        others = [(each, content) for each, content in entries if each not in (MANIFEST, "a.txt")]
        return [(MANIFEST, json.dumps(manifest)), (name, b"a"), *others]
    return change


@pytest.mark.parametrize("change, message", [
    (changed, "a.txt has been changed"),
    (lambda entries: entries[1:], "has no manifest.json"),
    (lambda entries: entries[:1] + entries[2:], "differ in a.txt"),
    (lambda entries: [*entries, ("extra.py", b"")], "differ in extra.py"),
    (lambda entries: [(MANIFEST, b"{"), *entries[1:]], "manifest.json is damaged"),
    (lambda entries: [(MANIFEST, b'{"format": 3, "files": {}}'), *entries[1:]], "of format 3"),
    (named("../outside"), "'../outside' is no file's name"),
    (named("/outside"), "'/outside' is no file's name"),
    (named("a/../../outside"), "is no file's name"),
    (named("C:\\outside"), "is no file's name"),
])
def test_what_was_changed_is_refused(archive, tmp_path, change, message):
    rewritten(archive, change)
    with pytest.raises(ReleaseError, match=message):
        unpack(archive, tmp_path / "sub" / "out")
    assert not (tmp_path / "sub").exists() and not (tmp_path / "outside").exists()


def test_a_cut_off_archive(archive):
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ReleaseError, match="cannot be read"):
        verify(archive)
    with pytest.raises(ReleaseError, match="cannot be read"):
        verify(archive.with_name("none.zip"))


def test_odd_names_are_not_packed(tmp_path):
    with pytest.raises(ReleaseError, match="is no file's name"):
        pack(tmp_path / "a.zip", {"../a": b""}, {})


def test_the_archive_checks_itself(archive, tmp_path):
    """``verify.py`` needs nothing but Python."""
    out = tmp_path / "out"
    unpack(archive, out)

    def run():
        return subprocess.run([sys.executable, "-I", "-S", str(out / "verify.py")], capture_output=True, text=True)

    assert run().returncode == 0 and "3 files are as released: moevit for a board" in run().stdout
    (out / "a.txt").write_bytes(b"b")
    assert run().returncode == 1 and "a.txt has been changed" in run().stderr
    (out / "a.txt").unlink()
    assert run().returncode == 1 and "cannot be read" in run().stderr
