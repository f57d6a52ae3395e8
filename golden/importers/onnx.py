# SPDX-License-Identifier: Apache-2.0
"""ONNX files of vision transformers: their weights go to the families under the names that they had in PyTorch.

Weights are found by the paths of their nodes (`onnx_graph`). What no weight says is read from the graph (epsilon,
activation, image, a normalisation in front of the patches) or from one run of it in onnxruntime (heads, positions that
the graph computes). It stands in the configuration under the names of Hugging Face.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from moevit.spec.networks import Network

from .errors import NotProved
from .family import Original
from .onnx_facts import activation, attention_probs, final_tokens, norm_eps, normalisation, unnamed_tokens
from .onnx_graph import OnnxGraph
from .report import Report
from .source import Source

__all__ = ["original", "read_onnx"]

#: Image of a graph that leaves its size open (pixels): the size that most ViTs are trained at.
_OPEN_IMAGE = 224


def read_onnx(path: Path, report: Report) -> Source:
    """Weights and configuration of a graph. Raises Unreadable, Unsupported."""
    graph = OnnxGraph(path)
    tensors = dict(graph.tensors)
    height, width = graph.image or (_OPEN_IMAGE, _OPEN_IMAGE)
    if graph.image is None:
        report.say("read", f"the graph leaves the image's size open: it is read at {height}x{width}")
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
    return Source(path, {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}, config,
                  preprocessor, files=(path,), graph=running)


def original(running: "Running", network: Network) -> Original:
    """The graph itself in onnxruntime. Raises NotProved where its tokens are not found or its image is another."""
    graph, tokens = running.graph, final_tokens(running.graph)
    if tokens is None:
        raise NotProved("the graph's last norm has no name")
    if (network.height, network.width) != (graph.image or (_OPEN_IMAGE, _OPEN_IMAGE)):
        raise NotProved(f"the graph is for images of {graph.image}")
    own = normalisation(graph)

    def forward(images: Tensor, task: int) -> Tensor:
        image = images.numpy()
        if own:  # the graph normalises itself
            mean, std = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in own[:2])
            image = (image * std + mean) * (255 if own[2] else 1)
        return torch.from_numpy(running.run(image.astype(np.float32))[tokens])

    return forward


class Running:
    """A graph in onnxruntime, on the CPU, that gives ``values`` instead of its own outputs."""

    def __init__(self, graph: OnnxGraph, values: Sequence[str]) -> None:
        self.graph, self.values = graph, list(dict.fromkeys(values))
        model = graph.model
        del model.graph.output[:]
        model.graph.output.extend(helper.make_empty_tensor_value_info(value) for value in self.values)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: warnings are of weights that the graph cut short does not read
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray]:
        """The values for an image (1, 3, H, W) as the graph takes it."""
        return dict(zip(self.values, self.session.run(self.values, {self.graph.input.name: image}), strict=True))
