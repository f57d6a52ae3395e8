# SPDX-License-Identifier: Apache-2.0
"""What the nodes of an ONNX graph say of its vision transformer and no weight does."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from .errors import Unsupported
from .onnx_graph import OnnxGraph, attribute, module_of

__all__ = ["activation", "attention_probs", "computed_positions", "final_tokens", "norm_eps", "normalisation"]

_BLOCK = re.compile(r"(^|\.)\d+\.")
_ACTIVATIONS = {"Erf": "gelu", "Tanh": "gelu_tanh", "Relu": "relu", "Gelu": "gelu"}
_QUICK = 1.702  # of x sigmoid(1.702 x)
#: Between 1 / std of pixels in 0..1 (2 to 5) and of bytes (below 0.02).
_BYTES = 0.1
_PASSES_ON = ("Cast", "Identity")


def norm_eps(graph: OnnxGraph) -> float | None:
    """The epsilon of the blocks' LayerNorms, None where none is found. Raises Unsupported if they differ."""
    found = {float(value) for value in _epsilons(graph)}
    rounded = {float(f"{value:.3g}") for value in found}  # 1e-6 is stored as float32
    if len(rounded) > 1:
        raise Unsupported(f"{graph.path}: its LayerNorms have several epsilons: {sorted(rounded)}")
    return rounded.pop() if rounded else None


def _epsilons(graph: OnnxGraph) -> Iterator[float]:
    for node in graph.nodes:
        if not _BLOCK.search(module_of(node.name)):
            continue
        if node.op_type == "LayerNormalization":
            yield attribute(node, "epsilon", 1e-5)
        elif node.op_type == "Sqrt":  # of variance + epsilon
            added = graph.maker[node.input[0]]
            yield from (graph.constants[name].item() for name in added.input if name in graph.constants)


def activation(graph: OnnxGraph) -> str | None:
    """The activation of the blocks' FFNs as in `spec.networks`, None where none is found. Raises Unsupported."""
    found = {name for node in graph.nodes if _BLOCK.search(module_of(node.name)) and (name := _activation(graph, node))}
    if len(found) > 1:
        raise Unsupported(f"{graph.path}: its blocks have several activations: {', '.join(sorted(found))}")
    return found.pop() if found else None


def _activation(graph: OnnxGraph, node: Any) -> str | None:
    if node.op_type == "Gelu" and attribute(node, "approximate", b"none") == b"tanh":
        return "gelu_tanh"
    if node.op_type != "Sigmoid":
        return _ACTIVATIONS.get(node.op_type)
    scaled = graph.maker[node.input[0]]
    if any(name in graph.constants and np.isclose(graph.constants[name], _QUICK).all() for name in scaled.input):
        return "quick_gelu"
    raise Unsupported(f"{graph.path}: node {node.name} is a sigmoid of no GELU: SiLU and SwiGLU are not supported")


def attention_probs(graph: OnnxGraph) -> str | None:
    """The value (1, heads, tokens, tokens) of the first block's softmax."""
    return next((node.output[0] for node in graph.nodes
                 if node.op_type == "Softmax" and _BLOCK.search(module_of(node.name))), None)


def computed_positions(graph: OnnxGraph) -> tuple[str, str] | None:
    """The value that the graph adds to its tokens as positions, and its name in PyTorch.

    None where it is a weight with a name. It is the first sum after the patches of which one side does not depend on
    the image's pixels.
    """
    conv = graph.patches
    after = {conv.output[0]}
    for node in graph.nodes:
        if not after.intersection(node.input) or node.op_type == "Shape":
            continue
        after.update(node.output)
        other = [value for value in node.input if value not in graph.pixels]
        if node.op_type == "Add" and other:
            module = module_of(conv.name)
            huggingface = module.endswith("patch_embeddings.projection")
            name = (module.removesuffix("patch_embeddings.projection") + "position_embeddings" if huggingface else
                    module.removesuffix("patch_embed.proj") + "pos_embed")
            return None if name in graph.tensors else (other[0], name)
    return None


def final_tokens(graph: OnnxGraph) -> str | None:
    """The value of the last LayerNorm outside the blocks, which norms every token."""
    norms = [name for name in graph.tensors if name.endswith("norm.bias") and not _BLOCK.search(name)]
    makers = [node for node in graph.nodes if any(name in node.input for name in norms)
              and node.op_type in ("Add", "LayerNormalization")]
    return makers[-1].output[0] if makers else None


def normalisation(graph: OnnxGraph) -> tuple[list[float], list[float], bool] | None:
    """Mean and std, of pixels in 0..1, of a normalisation inside the graph, and whether the graph takes pixels of
    0..255; None where the image goes straight in.

    A graph that scales by less than `_BYTES` takes pixels of 0..255. Raises Unsupported for another operator there.
    """
    scale, shift = np.ones(3), np.zeros(3)  # of what reaches the patches: scale * pixel + shift
    for node in reversed(_way_to_patches(graph)):
        if node.op_type in _PASSES_ON:
            continue
        constant = next((graph.constants[name].astype(float).reshape(-1) for name in node.input
                         if name in graph.constants), None)
        if constant is None or constant.size not in (1, 3) or node.op_type not in ("Sub", "Add", "Mul", "Div"):
            raise Unsupported(f"{graph.path}: node {node.name} ({node.op_type}) works on the image in front of the "
                              "patches: export the model without its preprocessing")
        if node.op_type in ("Sub", "Add"):
            shift = shift + constant * (1 if node.op_type == "Add" else -1)
        else:
            factor = constant if node.op_type == "Mul" else 1 / constant
            scale, shift = scale * factor, shift * factor
    if np.all(scale == 1) and np.all(shift == 0):
        return None
    takes_bytes = bool(np.all(scale < _BYTES))
    scale = scale * (255 if takes_bytes else 1)
    return (-shift / scale).tolist(), (1 / scale).tolist(), takes_bytes


def _way_to_patches(graph: OnnxGraph) -> list[Any]:
    """The nodes between the image and the patches, from the patches backwards."""
    way, value = [], graph.patches.input[0]
    while value != graph.input.name:
        node = graph.maker[value]
        way.append(node)
        value = next(name for name in node.input if name in graph.pixels)
    return way
