# SPDX-License-Identifier: Apache-2.0
"""Hosts, bundles and bitstreams rely on the contract, so it has a version, which changes with the contract."""

import hashlib
from enum import EnumMeta

import numpy as np

from moevit.spec import bundle, formats, isa, manifest, parts, registers, tables

LOCKED = {(0x00_02_00_00, 4): "bcaf1119951f8aa4"}


def _parts():
    """Everything that two sides must agree on, without the documentation."""
    for enum in (each for module in (isa, registers) for each in vars(module).values() if isinstance(each, EnumMeta)
                 and each.__members__):
        yield enum.__name__, {member.name: int(member) for member in enum}
    yield "bundle", [getattr(bundle, name) for name in ("MAGIC", "_ALIGNMENT", "_REQUIRED")]
    yield "layout of a bundle", [bundle._HEADER.format, bundle._ENTRY.format, manifest.MANIFEST_KEYS]
    yield "entries of a manifest", [manifest.ENTRY_KEYS, [part.value for part in parts.Part]]
    yield "fields", [(field[:4], sorted(map(int, field.opcodes))) for field in isa.FIELDS]
    yield "registers", [register[:3] for register in registers.REGISTERS]
    for module in (isa, registers, tables, formats):
        yield module.__name__, {name: value for name, value in vars(module).items()
                                if name.isupper() and name[0] != "_" and isinstance(value, int | dict)}
    for name in tables.__all__:
        made = getattr(tables, name)
        if callable(made):
            yield name, np.asarray(made()).tolist()


def test_what_two_sides_agree_on_has_a_version():
    found = hashlib.sha256(repr(list(_parts())).encode()).hexdigest()[:16]
    assert LOCKED.get((registers.VERSION, bundle.FORMAT_VERSION)) == found, (
        f"instructions, registers, formats or tables differ from those of this version: give "
        f"spec.registers.VERSION and spec.bundle.FORMAT_VERSION a new number, and lock {found} for them here")
