# SPDX-License-Identifier: Apache-2.0
"""``docs/timing.json``: what was measured, class by class; new measurements take the place of earlier ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .classes import CLASSES, TimingClass

__all__ = ["merged", "missing", "read_document", "write_document"]


def read_document(path: Path) -> dict[str, Any]:
    """A document without measurements where there is no file."""
    if not path.exists():
        return {"classes": [], "calibration": None}
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(document, indent=1) + "\n")
    draft.replace(path)


def merged(document: Mapping[str, Any], kind: TimingClass, unit: Mapping[str, Any]) -> dict[str, Any]:
    """The document with ``unit`` measured, classes and units in the order of `CLASSES`."""
    known = {(each["board"], each["config"]): each for each in document["classes"]}
    entry = known.get((kind.board, kind.config), {"units": []})
    by_name = {each["unit"]: each for each in entry["units"]} | {unit["unit"]: unit}
    known[kind.board, kind.config] = {
        "board": kind.board, "config": kind.config, "clock_mhz": kind.clock_mhz, "grade": kind.grade,
        "units": [by_name[name] for name in kind.units if name in by_name]}
    ordered = [known[key] for each in CLASSES if (key := (each.board, each.config)) in known]
    return {**document, "classes": ordered}


def missing(document: Mapping[str, Any], kind: TimingClass) -> list[str]:
    """Units of a class that the document does not have."""
    have = {unit["unit"] for each in document["classes"] if (each["board"], each["config"]) == (kind.board, kind.config)
            for unit in each["units"]}
    return [unit for unit in kind.units if unit not in have]
