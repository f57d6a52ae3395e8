# SPDX-License-Identifier: Apache-2.0
"""Readers of weight files. None of them runs code from a file."""

import argparse
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import AmbiguousState, Unreadable
from .libraries import first_line, no_warnings
from .report import Report

__all__ = ["Folder", "read_folder", "read_json", "read_npz", "read_safetensors", "read_torch"]

#: Weight files in a folder. The first that exists is read. An index beside it names its shards.
_SAFETENSORS, _TORCH = "model.safetensors", "pytorch_model.bin"
#: Levels of a PyTorch file that are searched for state dicts.
_DEPTH = 3


class Folder(NamedTuple):
    """The content of a Hugging Face or timm folder."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    preprocessor: dict[str, Any]
    metadata: dict[str, str]
    files: tuple[Path, ...]


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises Unreadable."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"{path} is not a safetensors file: {first_line(error)}") from error


def read_npz(path: Path, report: Report) -> dict[str, Tensor]:
    """Arrays of a NumPy archive. Flax checkpoints are published so, with ``/`` in their names. Raises Unreadable."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise Unreadable(f"{path} is not an .npz file of arrays: {first_line(error)}") from error
    return {name: _tensor(name, array, report) for name, array in arrays.items()}


def read_torch(path: Path, state: str | None, report: Report) -> dict[str, Tensor]:
    """The only state dict of a PyTorch file, or the one that ``state`` names. Raises Unreadable, AmbiguousState."""
    try:
        with no_warnings(), torch.serialization.safe_globals([argparse.Namespace]):  # the options of a training
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise Unreadable(f"{path} is not a PyTorch file of plain tensors, and code of a file is not run: save its "
                         "state_dict() alone, with torch.save or safetensors") from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise Unreadable(f"{path} is a TorchScript program, which is not run: save its state_dict()") from error
        raise Unreadable(f"{path} is not a PyTorch file: {first_line(error)}") from error
    except (OSError, EOFError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise Unreadable(f"{path} is not a PyTorch file: {first_line(error)}") from error
    states = dict(_states(content, "", _DEPTH))
    if not states:
        raise Unreadable(f"{path} holds no state dict, but {type(content).__name__}")
    listed = ", ".join(f"{name or '(top)'} ({len(each)} tensors)" for name, each in states.items())
    if state is None and len(states) > 1:
        raise AmbiguousState(f"{path} holds several state dicts: {listed}: choose one with --state")
    if state is not None and state not in states:
        raise AmbiguousState(f"--state {state}: {path} holds {listed}")
    chosen = state if state is not None else next(iter(states))
    if chosen:
        report.say("read", f"state dict {chosen!r} of {path.name}")
    return states[chosen]


def read_folder(path: Path, state: str | None, report: Report) -> Folder:
    """Read ``config.json`` and the weights, in one file or in shards. Raises Unreadable, AmbiguousState."""
    config, preprocessor = (read_json(path / name) for name in ("config.json", "preprocessor_config.json"))
    metadata: dict[str, str] = {}
    files = next((_files(path, name) for name in (_SAFETENSORS, _TORCH) if _files(path, name)), ())
    if not files:
        raise Unreadable(f"{path} holds none of {_SAFETENSORS}, {_TORCH} and their .index.json")
    if state is not None and files[0].suffix == ".safetensors":
        raise AmbiguousState(f"--state {state}: {files[0]} has no more than one state dict, leave it out")
    tensors: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            part, metadata = read_safetensors(file)
        else:
            part = read_torch(file, state, report)
        tensors |= part
    if len(files) > 1:
        report.say("read", f"{len(files)} shards")
    return Folder(tensors, config, preprocessor, metadata, files)


def _files(path: Path, name: str) -> tuple[Path, ...]:
    if (path / name).exists():
        return (path / name,)
    shards = read_json(path / f"{name}.index.json").get("weight_map", {})
    files = tuple(path / shard for shard in sorted(set(shards.values())))
    for file in files:
        if file.parent != path or not file.exists():
            raise Unreadable(f"{path / name}.index.json names {file.name}, which is not in the folder")
    return files


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file does not exist. Raises Unreadable."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} is not JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise Unreadable(f"{path} must be an object of names and values")
    return content


def _states(content: object, name: str, depth: int) -> list[tuple[str, dict[str, Tensor]]]:
    """State dicts in ``content``: its own tensors if one has two or more axes, else those of its members."""
    if not isinstance(content, Mapping):
        return []
    own = {key: value.detach() for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if any(value.ndim > 1 for value in own.values()):
        return [(name, own)]
    if depth == 0:
        return []
    return [found for key, value in content.items() if isinstance(key, str)
            for found in _states(value, f"{name}.{key}" if name else key, depth - 1)]


def _tensor(name: str, array: np.ndarray, report: Report) -> Tensor:
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:  # NumPy has no bfloat16
        report.say("read", "arrays of two nameless bytes are read as bfloat16")
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.kind not in "fiub":
        raise Unreadable(f"{name} is an array of {array.dtype}, not of numbers")
    return torch.from_numpy(np.ascontiguousarray(array))
