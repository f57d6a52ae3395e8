# SPDX-License-Identifier: Apache-2.0
"""The files on a model's way: checkpoint, quantised model, bundle, told apart by how they begin."""

from pathlib import Path
from typing import TYPE_CHECKING

from moevit.spec.bundle import MAGIC, Bundle
from moevit.spec.quantised import QuantisedModel

from .extras import explained

if TYPE_CHECKING:
    from moevit.golden.reference import M3ViT

__all__ = ["load"]

_ZIP = b"PK\x03\x04"


def load(path: "str | Path") -> "QuantisedModel | Bundle | M3ViT":
    """What a file of ours holds: a Bundle, a QuantisedModel (.npz), or the float model of a checkpoint (.safetensors).

    Raises OSError for a file that cannot be read, BundleError, QuantisedModelError or CheckpointError for a damaged
    one, MissingExtra for a checkpoint where torch is not installed.
    """
    path = Path(path)
    with path.open("rb") as file:
        begins = file.read(len(MAGIC))
    if begins == MAGIC:
        return Bundle.load(path)
    if begins.startswith(_ZIP):
        return QuantisedModel.load(path)
    try:
        from moevit.golden.reference import load as load_checkpoint
    except ModuleNotFoundError as error:
        raise explained(error, f"the checkpoint {path}", "golden") from error
    return load_checkpoint(path)
