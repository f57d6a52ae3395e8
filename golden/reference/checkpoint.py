# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files (safetensors): the tensors of an M3ViT, with its Network as JSON in the metadata.

``host`` in the metadata, also JSON, describes the host's part (`spec.quantised.QuantisedModel`). Tensors are float32; a
gate's ``mask`` is bool. ``gate.bias`` and ``gate.mask`` may be absent: the bias is then zero, and all experts are
allowed. Names that begin with ``heads.`` belong to heads. They are only checked for NaN.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from os import PathLike
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from moevit.spec.networks import Network, NetworkError

from .model import M3ViT
from .moe import Gate

__all__ = ["HEADS", "Checkpoint", "CheckpointError", "DtypeError", "FileFormatError", "MissingTensorError",
           "NotFiniteError", "ShapeError", "UnexpectedTensorError", "load", "load_state", "read", "save"]

HEADS = "heads."
_OPTIONAL = (".gate.bias", ".gate.mask")


class Checkpoint(NamedTuple):
    """The content of a file. ``tensors`` includes those of heads. ``host`` describes the host's part."""

    network: Network
    tensors: dict[str, Tensor]
    host: dict[str, Any]


class CheckpointError(ValueError):
    """A checkpoint that does not contain the weights of its network.

    Fix: import the original checkpoint again with `moevit import`.
    """


class FileFormatError(CheckpointError):
    """A file that is not a checkpoint, or whose network cannot be read.

    Fix: bring other formats in with `moevit import`.
    """


class MissingTensorError(CheckpointError):
    """A tensor of the network is missing.

    Fix: use a complete checkpoint of this network.
    """


class UnexpectedTensorError(CheckpointError):
    """A tensor that the network does not have.

    Fix: remove the tensor, or use the checkpoint's own network.
    """


class ShapeError(CheckpointError):
    """A tensor with another shape than in the network.

    Fix: use the checkpoint's own network.
    """


class DtypeError(CheckpointError):
    """A tensor with another element type than float32, or than bool for a mask.

    Fix: convert the tensor before saving.
    """


class NotFiniteError(CheckpointError):
    """A tensor with NaN or an infinity.

    Fix: use a checkpoint from before the training failed.
    """


def save(path: str | PathLike, model: M3ViT, heads: Mapping[str, Tensor] | None = None,
         host: Mapping[str, Any] | None = None) -> None:
    """Write the model and, if given, head tensors, whose names must begin with ``heads.``.

    Raises CheckpointError if the tensors could not be loaded again. It then writes nothing.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    for name, value in (heads or {}).items():
        if not name.startswith(HEADS):
            raise UnexpectedTensorError(f"{name}: the name of a head tensor must begin with {HEADS!r}")
        tensors[name] = value.detach().cpu().contiguous()
    _check(tensors, model)
    save_file(tensors, path, metadata={"network": json.dumps(asdict(model.network)), "host": json.dumps(host or {})})


def read(path: str | PathLike) -> Checkpoint:
    """The content of a file, without checking tensors against the network. Raises FileFormatError."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise FileFormatError(f"{path} is not a safetensors file: {error}") from error
    if "network" not in metadata:
        raise FileFormatError(f"{path} has no 'network' in its metadata: bring it in with moevit import")
    try:
        network = Network.from_fields(json.loads(metadata["network"]))
        host = json.loads(metadata.get("host", "{}"))
    except (json.JSONDecodeError, NetworkError) as error:
        raise FileFormatError(f"{path}: its network is not readable: {error}") from error
    return Checkpoint(network, tensors, host)


def load(path: str | PathLike) -> M3ViT:
    """The model of a checkpoint file in eval mode. Raises CheckpointError, which names the first wrong tensor."""
    found = read(path)
    return load_state(found.network, found.tensors)


def load_state(network: Network, tensors: Mapping[str, Tensor]) -> M3ViT:
    """The model of ``network`` with these weights in eval mode. Raises CheckpointError, GateError."""
    model = M3ViT(network)
    _check(tensors, model)
    own = {name: value for name, value in tensors.items() if not name.startswith(HEADS)}
    model.load_state_dict({**model.state_dict(), **own})
    return model.eval()


def _check(tensors: Mapping[str, Tensor], model: M3ViT) -> None:
    expected = model.state_dict()
    for name in expected:
        if name not in tensors and expected[name].numel() and not name.endswith(_OPTIONAL):
            raise MissingTensorError(f"{name} is missing from the checkpoint of {model.network.name}"
                                     + _nearest(name, tensors))
    for name, value in tensors.items():
        if not name.startswith(HEADS):
            if name not in expected:
                raise UnexpectedTensorError(f"{name} is no tensor of {model.network.name}" + _nearest(name, expected))
            if value.shape != expected[name].shape:
                raise ShapeError(f"{name} has shape {tuple(value.shape)}, {model.network.name} needs "
                                 f"{tuple(expected[name].shape)}")
        dtype = expected[name].dtype if name in expected else torch.float32
        if value.dtype != dtype:
            raise DtypeError(f"{name} is {value.dtype}, it must be {dtype}: convert it before saving")
        if not value.isfinite().all():
            raise NotFiniteError(f"{name} holds {int((~value.isfinite()).sum())} values that are NaN or infinite")
    for name, module in model.named_modules():
        if isinstance(module, Gate) and f"{name}.mask" in tensors:
            module.check_mask(tensors[f"{name}.mask"])


def _nearest(name: str, names: Mapping[str, Tensor]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"; the nearest name there is {close[0]}" if close else ""
