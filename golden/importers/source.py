# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as stored on disk: tensors by name, and its configuration. No code from the file runs."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import ImportFailed, Unreadable
from .files import read_folder, read_json, read_npz, read_safetensors, read_torch
from .report import Report

__all__ = ["CheckpointSource", "read_source"]

#: Prefixes that wrappers put before all names of a network (DataParallel, torch.compile, Lightning, mmseg).
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "student.", "teacher.")
#: Names at the root of a network. They show a wrapper even if heads stand beside the wrapped network.
_ROOT = re.compile(r"(patch_embed|embeddings)\.|(cls_token|pos_embed)$")
_CONVERTED = (torch.float16, torch.bfloat16, torch.float64)


@dataclass
class CheckpointSource:
    """Tensors under their own names without prefixes of wrappers. ``config`` is config.json, or the facts of an ONNX
    graph.

    Floating tensors are float32. Others keep their type, and are refused if a family takes them.
    """

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)  # of the library that wrote the file
    preprocessor: dict[str, Any] = field(default_factory=dict)  # preprocessor_config.json
    metadata: dict[str, str] = field(default_factory=dict)  # of a safetensors file
    files: tuple[Path, ...] = ()  # the files with the tensors
    graph: Any = None  # of an ONNX file, for its proof
    other_heads: tuple[str, ...] = ()  # patterns of heads that are not linear layers

    def sha256(self) -> str:
        """The hash, in hexadecimal, of the files with the tensors, one after the other."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest()


def read_source(path: str | Path, state: str | None = None, report: Report | None = None) -> CheckpointSource:
    """Read ``.safetensors``, ``.pth``, ``.pt``, ``.bin``, ``.npz``, ``.onnx``, or a folder of Hugging Face or timm.

    ``<name>.json`` beside a single file is its configuration. ``state`` chooses one of several state dicts in a PyTorch
    file. Raises Unreadable, AmbiguousState, ImportFailed.
    """
    path, report = Path(path), report or Report()
    if not path.exists():
        raise Unreadable(f"{path}: no such file or folder")
    source = _read(path, state, report)
    if not source.tensors:
        raise Unreadable(f"{path} holds no tensors")
    source.tensors = _as_float32(_without_prefixes(source.tensors, report), report)
    report.say("read", f"{len(source.tensors)} tensors, {_megabytes(source.tensors)} MB as float32, of {path}")
    return source


def _read(path: Path, state: str | None, report: Report) -> CheckpointSource:
    if path.is_dir():
        folder = read_folder(path, state, report)
        return CheckpointSource(path, folder.tensors, folder.config, folder.preprocessor, folder.metadata, folder.files)
    suffix = path.suffix.lower()
    if state is not None and suffix not in (".pth", ".pt", ".bin", ".ckpt", ".tar"):
        raise ImportFailed(f"--state {state}: {path} has no more than one state dict, leave it out")
    if suffix == ".onnx":
        try:
            from .onnx import read_onnx
        except ImportError as error:
            raise Unreadable(f"{path} needs onnx and onnxruntime ({error}): pip install 'moevit[onnx]'") from error
        return read_onnx(path, report)
    if suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        return CheckpointSource(path, tensors, read_json(path.with_suffix(".json")), metadata=metadata, files=(path,))
    if suffix == ".npz":
        return CheckpointSource(path, read_npz(path, report), files=(path,))
    if suffix in (".pth", ".pt", ".bin", ".ckpt", ".tar"):
        tensors = read_torch(path, state, report)
        return CheckpointSource(path, tensors, read_json(path.with_suffix(".json")), files=(path,))
    raise Unreadable(f"{path}: its name must end in .safetensors, .pth, .pt, .bin, .npz or .onnx, or be a folder")


def _without_prefixes(tensors: Mapping[str, Tensor], report: Report) -> dict[str, Tensor]:
    found = dict(tensors)
    while prefix := next((p for p in PREFIXES if _wraps(p, found)), None):
        renamed = {name.removeprefix(prefix): value for name, value in found.items()}
        if len(renamed) < len(found):
            raise ImportFailed(f"names with and without {prefix!r} in front are the same: save one network alone")
        report.say("read", f"{prefix!r} in front of {sum(name.startswith(prefix) for name in found)} names is left out")
        found = renamed
    return found


def _wraps(prefix: str, names: Mapping[str, Tensor]) -> bool:
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return len(inside) == len(names) or any(_ROOT.match(name) for name in inside)


def _as_float32(tensors: dict[str, Tensor], report: Report) -> dict[str, Tensor]:
    for dtype in _CONVERTED:
        those = [name for name, value in tensors.items() if value.dtype == dtype]
        if those:
            report.say("read", f"{len(those)} tensors of {str(dtype).removeprefix('torch.')} are converted to float32")
        for name in those:
            single = tensors[name].float()
            if single.isinf().any() and not tensors[name].isinf().any():
                raise ImportFailed(f"{name} holds values beyond the range of float32")
            tensors[name] = single
    return tensors


def _megabytes(tensors: Mapping[str, Tensor]) -> int:
    return round(sum(value.numel() for value in tensors.values()) * 4 / 1e6)
