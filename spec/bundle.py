# SPDX-License-Identifier: Apache-2.0
"""The bundle: a compiled network, ready for the machine. One file, sections with a CRC each, a JSON manifest.

Layout, little endian: ``MOEVBNDL``; version u32; count of sections u32; CRC32 u32 of the section table. Then the table,
for each section: name (16 bytes, zero padded), offset u64, size u64, CRC32 u32. Then the sections, each at a multiple
of 64 bytes.

Sections: ``manifest`` (JSON), ``program`` (instructions of 64 bytes), ``weights`` and ``gates`` (beats in the order of
their use; the gates of task t start at ``t x gate_stride``), optionally ``heads`` (npz, for the host).
"""

import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moevit.kit.npz import NpzError, read_npz

from .isa import INSTRUCTION_BYTES
from .manifest import check_manifest

__all__ = ["Bundle", "BundleError"]

MAGIC = b"MOEVBNDL"
FORMAT_VERSION = 4
_HEADER = struct.Struct("<8sIII")
_ENTRY = struct.Struct("<16sQQI")
_ALIGNMENT = 64
_REQUIRED = ("manifest", "program", "weights", "gates")


class BundleError(ValueError):
    """A bundle that is damaged, incomplete, or of another version. The message names the section.

    Fix: copy the file again; if its version is old, compile the model again.
    """


@dataclass(frozen=True)
class Bundle:
    """A compiled network in memory. ``heads`` holds the weights of the host's heads, by name."""

    manifest: dict[str, Any]
    program: bytes
    weights: bytes
    gates: bytes
    heads: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def program_length(self) -> int:
        """Instructions of the program."""
        return len(self.program) // INSTRUCTION_BYTES

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of their gates."""
        return tuple(self.manifest["tasks"])

    def save(self, path: Path) -> None:
        """Write the file. Raises OSError."""
        sections = {"manifest": json.dumps(self.manifest, sort_keys=True).encode(), "program": self.program,
                    "weights": self.weights, "gates": self.gates}
        if self.heads:
            buffer = io.BytesIO()
            np.savez(buffer, **self.heads)
            sections["heads"] = buffer.getvalue()
        table, body = b"", b""
        start = _align(_HEADER.size + _ENTRY.size * len(sections))
        for name, content in sections.items():
            body += bytes(_align(len(body)) - len(body))
            table += _ENTRY.pack(name.encode(), start + len(body), len(content), zlib.crc32(content))
            body += content
        head = _HEADER.pack(MAGIC, FORMAT_VERSION, len(sections), zlib.crc32(table)) + table
        Path(path).write_bytes(head + bytes(start - len(head)) + body)

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """The bundle in a file. Raises BundleError before it uses anything of a damaged file."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise BundleError(f"bundle {path} cannot be read: {error}") from error
        sections = _split(content, str(path))
        try:
            manifest = json.loads(sections["manifest"])
        except ValueError as error:
            raise BundleError(f"{path}: section manifest is not JSON: {error}") from error
        if not sections["program"] or len(sections["program"]) % INSTRUCTION_BYTES:
            raise BundleError(f"{path}: section program is {len(sections['program'])} bytes, "
                              f"not a multiple of {INSTRUCTION_BYTES}")
        wrong = check_manifest(manifest, len(sections["program"]) // INSTRUCTION_BYTES, len(sections["gates"]))
        if wrong:
            raise BundleError(f"{path}: section manifest {wrong}")
        heads: dict[str, np.ndarray] = {}
        if "heads" in sections:
            try:
                heads = read_npz(io.BytesIO(sections["heads"]))
            except NpzError as error:
                raise BundleError(f"{path}: section heads: {error}") from error
        return cls(manifest, sections["program"], sections["weights"], sections["gates"], heads)


def _align(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _split(content: bytes, path: str) -> dict[str, bytes]:
    if len(content) < _HEADER.size or content[:8] != MAGIC:
        raise BundleError(f"{path} is not a bundle: it does not start with {MAGIC.decode()}")
    _, version, count, table_crc = _HEADER.unpack_from(content)
    if version != FORMAT_VERSION:
        raise BundleError(f"{path} has bundle version {version}, this is {FORMAT_VERSION}: compile again")
    table = content[_HEADER.size:_HEADER.size + _ENTRY.size * count]
    if count > 16 or len(table) != _ENTRY.size * count or zlib.crc32(table) != table_crc:
        raise BundleError(f"{path}: the section table is damaged")
    sections: dict[str, bytes] = {}
    end = _HEADER.size + len(table)
    for entry in range(count):
        raw, offset, size, crc = _ENTRY.unpack_from(table, entry * _ENTRY.size)
        name = raw.rstrip(b"\0").decode("ascii", "replace")
        if offset < end or offset != _align(end) or offset + size > len(content):
            raise BundleError(f"{path}: section {name} lies at {offset}..{offset + size}, outside its place "
                              f"({_align(end)}..{len(content)}); the file is truncated or damaged")
        sections[name] = content[offset:offset + size]
        if zlib.crc32(sections[name]) != crc:
            raise BundleError(f"{path}: section {name} is damaged (CRC differs)")
        end = offset + size
    if end != len(content):
        raise BundleError(f"{path}: {len(content) - end} bytes follow the last section")
    for name in _REQUIRED:
        if name not in sections:
            raise BundleError(f"{path}: section {name} is missing")
    return sections
