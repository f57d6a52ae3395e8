# SPDX-License-Identifier: Apache-2.0
"""ONNX files of vision transformers. Their weights go to the families under the names that they had in PyTorch.

`onnx_graph` finds the weights by the paths of their nodes. The graph gives the facts that no weight shows: epsilon,
activation, image, a normalisation before the patches. One run in onnxruntime gives the heads, and positions that the
graph computes. These facts become a configuration under Hugging Face's names.
"""

from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from moevit.spec.networks import Network

from .errors import NotProved, Unsupported
from .family import Original
from .onnx_facts import (
    activation,
    attention_probs,
    convolutional_heads,
    final_tokens,
    norm_eps,
    normalisation,
    unnamed_tokens,
)
from .onnx_graph import OnnxGraph
from .report import Report
from .source import CheckpointSource

__all__ = ["original", "read_onnx"]

_FATAL = 4  # onnxruntime's log level: print only fatal errors


def read_onnx(path: Path, report: Report) -> CheckpointSource:
    """Weights and configuration of a graph. Raises Unreadable, Unsupported."""
    graph = OnnxGraph(path)
    tensors = dict(graph.tensors)
    height, width = _image(graph)
    if graph.image is None:
        report.say("read", f"the graph leaves the image's size open: it is read at {height}x{width}, the trained one")
    config: dict[str, Any] = {"image_size": [height, width]}
    probs, tokens, unnamed = attention_probs(graph), final_tokens(graph), unnamed_tokens(graph)
    computed = {name: value for name, value in unnamed.items() if value not in graph.constants}
    running = Running(graph, [value for value in (probs, tokens, *computed.values()) if value])
    found = running.run(np.zeros((1, 3, height, width), np.float32))
    if probs:
        config["num_attention_heads"] = found[probs].shape[1]
    for name, value in unnamed.items():
        tensors[name] = found[value] if name in computed else graph.constants[value]
        report.say("read", f"{name} as the graph has it for {height}x{width} pixels")
    config |= {name: value for name, value in (("layer_norm_eps", norm_eps(graph)), ("hidden_act", activation(graph)))
               if value is not None}
    own = normalisation(graph)
    if own:
        report.say("read", "mean and std of the normalisation in the graph")
    preprocessor = {"image_mean": own[0], "image_std": own[1]} if own else {}
    return CheckpointSource(path, {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}, config,
                            preprocessor, files=(path,), graph=running,
                            other_heads=tuple(f"{head}*" for head in convolutional_heads(graph)))


def original(running: "Running", network: Network) -> Original:
    """The graph itself in onnxruntime. Raises NotProved if its tokens are not found or its image has another size."""
    graph, tokens = running.graph, final_tokens(running.graph)
    if tokens is None:
        raise NotProved("the graph's last norm has no name")
    if (network.height, network.width) != _image(graph):
        raise NotProved("the graph was read at {}x{} pixels".format(*_image(graph)))
    if graph.constants[graph.patches.input[1]].dtype != np.float32:
        raise NotProved("the graph does not compute in float32")
    own = normalisation(graph)

    def forward(images: Tensor, task: int) -> Tensor:
        image = images.numpy()
        if own:  # the graph normalises the image itself
            mean, std = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in own[:2])
            image = (image * std + mean) * (255 if own[2] else 1)
        return torch.from_numpy(running.run(image)[tokens].astype(np.float32))

    return forward


def _image(graph: OnnxGraph) -> tuple[int, int]:
    """Height and width of the graph's image. If the graph leaves them open: of the square that fits the positions.

    Raises Unsupported if neither tells.
    """
    if graph.image is not None:
        return graph.image
    dim, _, _, patch = graph.constants[graph.patches.input[1]].shape
    rows = max((value.shape[1] for value in graph.constants.values()
                if value.ndim == 3 and value.shape[0] == 1 and value.shape[2] == dim), default=0)
    for patches in (rows, rows - 1, rows - 2):  # CLS and a distillation token may have positions
        if patches > 1 and isqrt(patches) ** 2 == patches:
            return isqrt(patches) * patch, isqrt(patches) * patch
    raise Unsupported(f"{graph.path} leaves the image's size open, and no positions say it: export it for one size")


class Running:
    """A graph in onnxruntime on the CPU, whose outputs are replaced by ``values``."""

    def __init__(self, graph: OnnxGraph, values: Sequence[str]) -> None:
        self.graph, self.values = graph, list(dict.fromkeys(values))
        model = graph.model
        del model.graph.output[:]
        model.graph.output.extend(helper.make_empty_tensor_value_info(value) for value in self.values)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL  # hides warnings about weights that the shortened graph does not read
        try:
            self.session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                        providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise Unsupported(f"{graph.path}: onnxruntime does not load it: {_line(error)}") from error

    def run(self, image: NDArray) -> dict[str, NDArray]:
        """The values for an image (1, 3, H, W) in the graph's own form. Raises Unsupported."""
        kind = self.graph.input.type.tensor_type
        batch = np.repeat(image, kind.shape.dim[0].dim_value or 1, axis=0)
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        options = onnxruntime.RunOptions()
        options.log_severity_level = _FATAL
        try:
            found = self.session.run(
                self.values, {self.graph.input.name: batch.astype(dtype)}, options)
        except Exception as error:  # see above
            raise Unsupported(f"{self.graph.path}: onnxruntime does not run it: {_line(error)}") from error
        return {name: value[:1] for name, value in zip(self.values, found, strict=True)}


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
