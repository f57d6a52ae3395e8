# SPDX-License-Identifier: Apache-2.0
"""Loads a checkpoint, a quantised model or a bundle. The first bytes of a file tell which it is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from moevit.spec.bundle import MAGIC, Bundle
from moevit.spec.networks import Network, NetworkError
from moevit.spec.quantised import QuantisedModel

from .extras import explained

if TYPE_CHECKING:
    from moevit.golden.reference import M3ViT

__all__ = ["FileError", "load", "shape_of"]

_ZIP = b"PK\x03\x04"
_HEADER_LIMIT = 100_000_000  # bytes; the limit of safetensors


class FileError(ValueError):
    """A file of none of moevit's kinds. The message names it.

    Fix: give a quantised model (.npz) or a checkpoint of `moevit import` (.safetensors).
    """


def load(path: "str | Path") -> "QuantisedModel | Bundle | M3ViT":
    """Load a file: a Bundle, a QuantisedModel (.npz), or the float model of a checkpoint (.safetensors).

    Raises OSError for an unreadable file, BundleError, QuantisedModelError or CheckpointError for a damaged one,
    MissingExtra for a checkpoint without torch.
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


def shape_of(path: str | Path) -> Network | QuantisedModel:
    """The input of an estimate: a quantised model, or the network of a checkpoint.

    Only the header of a checkpoint is read, so torch is not needed. Raises OSError, QuantisedModelError, FileError.
    """
    path = Path(path)
    with path.open("rb") as file:
        begins = file.read(8)
        if begins.startswith(_ZIP):
            return QuantisedModel.load(path)
        size = int.from_bytes(begins, "little")
        try:
            if size > _HEADER_LIMIT:
                raise ValueError("it is no safetensors file")
            metadata = json.loads(file.read(size)).get("__metadata__", {})
            return Network.from_fields(json.loads(metadata["network"]))
        except (AttributeError, KeyError, NetworkError, RecursionError, TypeError, ValueError) as error:
            raise FileError(f"{path} is neither a quantised model (.npz) nor a checkpoint of ours (.safetensors) with "
                            f"its network in the metadata: bring it in with moevit import") from error
