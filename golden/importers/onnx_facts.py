# SPDX-License-Identifier: Apache-2.0
"""Facts of a vision transformer that its ONNX graph shows and no weight does."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from .errors import Unsupported
from .onnx_graph import OnnxGraph, attribute, module_of

__all__ = ["activation", "attention_probs", "convolutional_heads", "final_tokens", "norm_eps", "normalisation",
           "unnamed_tokens"]

_BLOCK = re.compile(r"(^|\.)\d+\.")
_ACTIVATIONS = {"Erf": "gelu", "Tanh": "gelu_tanh", "Relu": "relu", "Gelu": "gelu"}
_QUICK = 1.702  # of x sigmoid(1.702 x)
#: A limit between 1 / std of pixels in 0..1 (2 to 5) and of bytes (below 0.02).
_BYTES = 0.1
_HUGGING_FACE = "patch_embeddings.projection"
_HUGGING_FACE_NAMES = {"positions": "position_embeddings", "cls": "cls_token", "second": "distillation_token",
                       "registers": "register_tokens"}
_TIMM_NAMES = {"positions": "pos_embed", "cls": "cls_token", "second": "dist_token", "registers": "reg_token"}
_PASSES_ON = ("Cast", "Identity")


def norm_eps(graph: OnnxGraph) -> float | None:
    """The epsilon of the blocks' LayerNorms, or None. Raises Unsupported if they differ."""
    found = {float(value) for value in _epsilons(graph)}
    rounded = {float(f"{value:.3g}") for value in found}  # 1e-6 is stored as float32
    if len(rounded) > 1:
        raise Unsupported(f"{graph.path}: its LayerNorms have several epsilons: {sorted(rounded)}")
    return rounded.pop() if rounded else None


def _epsilons(graph: OnnxGraph) -> Iterator[float]:
    for node in graph.nodes:
        if not _BLOCK.search(module_of(node)):
            continue
        if node.op_type == "LayerNormalization":
            yield attribute(node, "epsilon", 1e-5)
        elif node.op_type == "Sqrt":  # the root of variance + epsilon
            added = graph.maker[node.input[0]]
            yield from (graph.constants[name].item() for name in added.input if name in graph.constants)


def activation(graph: OnnxGraph) -> str | None:
    """The activation of the blocks' FFNs as in `spec.networks`, or None. Raises Unsupported."""
    found = {name for node in graph.nodes if _BLOCK.search(module_of(node)) and (name := _activation(graph, node))}
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
    """The name of the value (1, heads, tokens, tokens) of the first block's softmax."""
    return next((node.output[0] for node in graph.nodes
                 if node.op_type == "Softmax" and _BLOCK.search(module_of(node))), None)


def unnamed_tokens(graph: OnnxGraph) -> dict[str, str]:
    """Prefix tokens and positions that are not named weights: name in PyTorch -> name of the value in the graph.

    Between the patches and the first block, prefix tokens are concatenated with the tokens, and positions are added.
    Both do not depend on the image's pixels.
    """
    module = module_of(graph.patches)
    huggingface = module.endswith(_HUGGING_FACE)
    root = module.removesuffix(_HUGGING_FACE if huggingface else "patch_embed.proj")
    names = _HUGGING_FACE_NAMES if huggingface else _TIMM_NAMES
    found: dict[str, str] = {}
    after = set(graph.patches.output)
    for node in graph.nodes:
        if not after.intersection(node.input) or node.op_type == "Shape":
            continue
        if _BLOCK.search(module_of(node)):
            break
        after.update(node.output)
        for value in node.input:
            if value not in graph.pixels and value not in graph.patches.input and node.op_type in ("Add", "Concat"):
                kind = _kind(graph, node, value, found)
                if kind is not None:
                    found[kind] = value
    return {root + names[kind]: value for kind, value in found.items() if root + names[kind] not in graph.tensors}


def _kind(graph: OnnxGraph, node: Any, value: str, found: Mapping[str, str]) -> str | None:
    """The kind of a value that joins the tokens: ``positions``, ``cls``, ``second`` (the distillation token),
    ``registers``, or None."""
    origin = value
    while origin in graph.maker and graph.maker[origin].op_type in ("Expand", *_PASSES_ON):
        origin = graph.maker[origin].input[0]
    constant = graph.constants.get(origin)
    if constant is not None and constant.ndim != 3:
        return None
    if node.op_type == "Add":
        return None if "positions" in found else "positions"
    if constant is None:
        return None
    return "registers" if constant.shape[1] > 1 or origin.endswith(("register_tokens", "reg_token")) else (
        "second" if "cls" in found else "cls")


def final_tokens(graph: OnnxGraph) -> str | None:
    """The name of the value after the last LayerNorm outside the blocks, which norms every token."""
    norms = [name for name in graph.tensors if name.endswith("norm.bias") and not _BLOCK.search(name)]
    makers = [node for node in graph.nodes if any(name in node.input for name in norms)
              and node.op_type in ("Add", "LayerNormalization")]
    return makers[-1].output[0] if makers else None


def convolutional_heads(graph: OnnxGraph) -> list[str]:
    """Prefixes of the names of modules that only read the final tokens and contain convolutions: ``decoder.``"""
    tokens = final_tokens(graph)
    after, behind, before = {tokens}, set(), set()
    for node in graph.nodes:
        module = module_of(node) + "."
        if not after.intersection(node.input):
            if graph.pixels.intersection(node.input):
                before.add(module)
            continue
        after.update(node.output)
        if node.op_type in ("Conv", "ConvTranspose"):
            behind.add(module)
    tops = {_top(module, before) for module in behind}
    return sorted(top for top in tops if top)


def _top(module: str, before: Collection[str]) -> str | None:
    """The shortest prefix of a module's path that no module of ``before`` has, or None."""
    parts = module.removesuffix(".").split(".")
    for length in range(1, len(parts) + 1):
        top = ".".join(parts[:length]) + "."
        if not any(other.startswith(top) for other in before):
            return top
    return None


def normalisation(graph: OnnxGraph) -> tuple[list[float], list[float], bool] | None:
    """A normalisation inside the graph: mean and std of pixels in 0..1, and whether the graph takes pixels of 0..255.

    None if there is no normalisation. A graph that scales by less than `_BYTES` takes pixels of 0..255. Raises
    Unsupported for another operator there.
    """
    scale, shift = np.ones(3), np.zeros(3)  # the patches read scale * pixel + shift
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
