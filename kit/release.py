# SPDX-License-Identifier: Apache-2.0
"""The archive of a release: the files that a board needs, and ``manifest.json`` with the sha256 of each.

All files lie in one folder, which is called as the archive. Everybody may read them.

This module uses the standard library alone, because the archive has a copy of it as ``verify.py``: ``python verify.py``
in the unpacked folder checks all files before anything is installed.
"""

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["MANIFEST", "ReleaseError", "pack", "unpack", "verify", "verify_folder"]

MANIFEST = "manifest.json"
FORMAT = 2
_MODE = 0o100644 << 16  # of a zip entry: a plain file that its owner writes and everybody reads
_UNIX = 3  # the system whose modes these are


class ReleaseError(ValueError):
    """An archive or folder that differs from its manifest. The message names the file.

    Fix: copy the archive again, and unpack it into an empty folder.
    """


def pack(path: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write an archive with ``files`` by name and a manifest with ``facts``, in a folder that is called as the archive.
    The same input gives the same bytes."""
    for name in files:
        _checked_name(name)
    manifest = {"format": FORMAT, **facts, "files": {name: _sha256(content) for name, content in sorted(files.items())}}
    entries = {MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode(), **dict(sorted(files.items()))}
    draft = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(f"{path.stem}/{name}")  # dated 1980, so the bytes do not depend on the day
            entry.external_attr, entry.create_system = _MODE, _UNIX
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    draft.replace(path)


def verify(path: Path) -> dict[str, Any]:
    """The manifest of an archive. Raises ReleaseError unless the archive has exactly its files, unchanged."""
    return _read(path)[0]


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Verify an archive, then write its files into ``folder``, which must be empty or new. Raises ReleaseError."""
    manifest, contents = _read(path)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ReleaseError(f"{folder} is not empty")
        for name, content in contents.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except OSError as error:
        raise ReleaseError(f"{error.filename} cannot be written: {error.strerror}") from error
    return manifest


def verify_folder(folder: Path) -> dict[str, Any]:
    """The manifest of an unpacked archive. Raises ReleaseError unless its files are unchanged; others may be there."""
    try:
        manifest = _manifest((folder / MANIFEST).read_bytes())
        for name, digest in manifest["files"].items():
            _compare(name, (folder / name).read_bytes(), digest)
    except OSError as error:
        raise ReleaseError(f"{error.filename} cannot be read: {error.strerror}") from error
    return manifest


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise ReleaseError(f"{path} has a file twice")
            if len({name.partition("/")[0] for name in names}) > 1 or not all("/" in name for name in names):
                raise ReleaseError(f"{path} has not all files in one folder")
            for name in names:
                _checked_name(name.partition("/")[2])
            contents = {name.partition("/")[2]: archive.read(name) for name in names}
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
        raise ReleaseError(f"{path} cannot be read: {error}") from error
    if MANIFEST not in contents:
        raise ReleaseError(f"{path} has no {MANIFEST}")
    manifest = _manifest(contents[MANIFEST])
    if odd := set(contents) - {MANIFEST} ^ set(manifest["files"]):
        raise ReleaseError(f"{path} and its {MANIFEST} differ in {', '.join(sorted(odd))}")
    for name, digest in manifest["files"].items():
        _compare(name, contents[name], digest)
    return manifest, contents


def _manifest(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        known = manifest["format"] == FORMAT and isinstance(manifest["files"], dict)
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{MANIFEST} is damaged") from error
    if not known:
        raise ReleaseError(f"{MANIFEST} is of format {manifest['format']}, not {FORMAT}")
    for name in manifest["files"]:
        _checked_name(name)
    return manifest


def _checked_name(name: str) -> None:
    """Raises ReleaseError for a name that could lead out of the folder that the archive is unpacked into."""
    parts = PurePosixPath(name).parts
    if not parts or name != "/".join(parts) or ".." in parts or "\\" in name or ":" in name or name.startswith("/"):
        raise ReleaseError(f"{name!r} is no file's name in an archive")


def _compare(name: str, content: bytes, digest: str) -> None:
    if _sha256(content) != digest:
        raise ReleaseError(f"{name} has been changed: its sha256 is not the manifest's")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    try:
        checked = verify_folder(Path(__file__).resolve().parent)
    except ReleaseError as problem:
        sys.exit(str(problem))
    print(f"{len(checked['files'])} files are as released: {checked.get('name', '')}")
