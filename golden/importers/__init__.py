# SPDX-License-Identifier: Apache-2.0
"""Turns checkpoints of other libraries into networks of the machine. There is one file per family of checkpoints.

Every fold is exact in real arithmetic, and the report names it.
"""

import re
from os import PathLike
from typing import Any

from .build import Imported, convert
from .dinov2 import Dinov2
from .errors import ImportFailed, UnknownFamily
from .family import Family
from .huggingface import HuggingFace
from .m3vit import M3Vit
from .options import Options
from .own import Own
from .report import Report
from .source import CheckpointSource
from .timm import Timm
from .torchvision import Torchvision
from .vitpose import VitPose
from .vmoe import VMoe

__all__ = ["FAMILIES", "ImportFailed", "Imported", "Options", "Report", "import_checkpoint"]

#: The families by name, for ``--family``.
FAMILIES: dict[str, Family] = {family.name: family for family in (
    Own(), Timm(), Dinov2(), HuggingFace(), Torchvision(), M3Vit(), VMoe(), VitPose())}


def import_checkpoint(path: str | PathLike, **options: Any) -> Imported:
    """Import a checkpoint file or folder. ``options`` are the fields of `Options`. Raises ImportFailed."""
    return convert(path, Options(**options), _choose)


def _choose(source: CheckpointSource, options: Options) -> Family:
    if options.family is not None:
        if options.family not in FAMILIES:
            raise UnknownFamily(f"--family {options.family}: it is one of {', '.join(FAMILIES)}")
        return FAMILIES[options.family]
    found = [family for family in FAMILIES.values() if family.tells(source)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownFamily(f"{source.path} could be of {' or '.join(f.name for f in found)}: choose with --family")
    looked = "; ".join(f"{family.name}: {', '.join(map(_readable, family.keys))}" for family in FAMILIES.values())
    some = ", ".join(list(source.tensors)[:3])
    raise UnknownFamily(f"{source.path} is of no known family ({some} ...). Looked for {looked}. Force one with "
                        "--family")


def _readable(pattern: str) -> str:
    """A key of a family without its regular expression marks, for messages."""
    return re.sub(r"\\(?=\W)|\(\.\*.\)\?", "", pattern.replace(r"(.*\.)?", "").replace(r"\d+", "0"))
