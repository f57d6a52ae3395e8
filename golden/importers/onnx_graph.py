# SPDX-License-Identifier: Apache-2.0
"""The weights of a vision transformer in an ONNX file, under the names that they had in PyTorch.

``torch.onnx.export`` records which module made a node: in the node's name, ``/encoder/layer.0/mlp/fc1/MatMul``, or in
its metadata (``dynamo=True``). A tensor keeps its name if the export stored it unchanged. A transposed tensor gets a
number, ``onnx::MatMul_1234`` or ``val_64``. Equal tensors share one name. This module names such tensors after the node
that reads them, ``encoder.layer.0.mlp.fc1.weight``, and transposes them back.
"""

import re
from itertools import zip_longest
from os import PathLike
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from .errors import Unreadable, Unsupported

__all__ = ["OnnxGraph", "attribute", "module_of"]

_QUANTISED = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeLinear",
              "QuantizeLinear", "DequantizeLinear"}
_SCOPES = "pkg.torch.onnx.name_scopes"
_LINEAR = {"MatMul", "Gemm", "Conv", "LayerNormalization"}


def module_of(node: Any) -> str:
    """The module that made a node: ``/blocks/blocks.0/attn/qkv/MatMul`` -> ``blocks.0.attn.qkv``. "" if there is none.

    A module of an ``nn.Sequential`` repeats the name of its sequence, which is left out.
    """
    for item in node.metadata_props:
        if item.key == _SCOPES:  # "['', 'encoder', 'encoder.layer.0', 'linear']"
            return ([""] + re.findall(r"'([^']*)'", item.value))[-2]
    parts = node.name.strip("/").split("/")[:-1]
    return ".".join(part for part, following in zip_longest(parts, parts[1:], fillvalue="")
                    if not re.fullmatch(re.escape(part) + r"\.\d+", following))


class OnnxGraph:
    """An ONNX file: its nodes, its constants, and the values that depend on the image.

    Attributes
    ----------
    constants : every initialiser and Constant, by the name of its value
    tensors : the weights, by their names in PyTorch
    """

    def __init__(self, path: str | PathLike) -> None:
        try:
            self.model = onnx.load(path)
        except (DecodeError, OSError, ValueError) as error:
            raise Unreadable(f"{path} is not an ONNX file: {error}") from error
        self.path = path
        self.constants: dict[str, NDArray] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        self.maker: dict[str, Any] = {}
        self.aliases: list[str] = []
        for node in self.nodes:
            self._enter(node)
        self.input = next(value for value in self.model.graph.input if value.name not in self.constants)
        self.pixels = self._pixels()
        self.tensors = self._named() | self._anonymous()

    @property
    def nodes(self) -> Any:
        return self.model.graph.node

    @property
    def image(self) -> tuple[int, int] | None:
        """Height and width of the image in pixels, or None if the file leaves them open."""
        sides = [side.dim_value for side in self.input.type.tensor_type.shape.dim][-2:]
        return (sides[0], sides[1]) if len(sides) == 2 and all(sides) else None

    @property
    def patches(self) -> Any:
        """The convolution that turns the image into patches. Raises Unsupported if there is none."""
        conv = next((node for node in self.nodes if node.op_type == "Conv" and node.input[0] in self.pixels), None)
        if conv is None or not module_of(conv):
            raise Unsupported(f"{self.path}: no convolution with a module's name makes patches of the image")
        return conv

    def _enter(self, node: Any) -> None:
        if node.op_type in _QUANTISED:
            raise Unsupported(f"{self.path}: node {node.name} ({node.op_type}) is quantised: export the float model")
        for output in node.output:
            self.maker[output] = node
        if node.op_type == "Constant":
            value = next((item for item in node.attribute if item.name == "value"), None)
            if value is not None:
                self.constants[node.output[0]] = numpy_helper.to_array(value.t)
        elif node.op_type == "Identity" and node.input[0] in self.constants:  # a weight that equals another
            self.constants[node.output[0]] = self.constants[node.input[0]]
            self.aliases.append(node.output[0])

    def _pixels(self) -> set[str]:
        """Values that depend on the image's pixels. Its shape alone does not count."""
        values = {self.input.name}
        for node in self.nodes:
            if node.op_type not in ("Shape", "Size") and values.intersection(node.input):
                values.update(node.output)
        return values

    def _named(self) -> dict[str, NDArray]:
        names = [tensor.name for tensor in self.model.graph.initializer] + self.aliases
        return {name: self.constants[name] for name in names if not _is_anonymous(name)}

    def _anonymous(self) -> dict[str, NDArray]:
        """Tensors without a name of their own, or with the name of an equal tensor, named after the module of their
        node."""
        found: dict[str, NDArray] = {}
        for node in self.nodes:
            if node.op_type not in _LINEAR and node.op_type != "Add":
                continue
            for place, name in enumerate(node.input):
                own = not _is_anonymous(name) and name.rpartition(".")[0] == module_of(node)
                if name in self.constants and not own:
                    self._place(found, node, place, self.constants[name])
        return found

    def _place(self, found: dict[str, NDArray], node: Any, place: int, value: NDArray) -> None:
        module = module_of(node)
        if node.op_type == "Add":
            if value.ndim == 1 and (f"{module}.weight" in found or f"{module}.weight" in self.constants):
                found[f"{module}.bias"] = value
            return
        if node.op_type == "MatMul" and value.ndim != 2:  # a constant of the attention, not a weight
            return
        if not module:
            raise Unsupported(f"{self.path}: node {node.name or node.output[0]} ({node.op_type}) names no module: "
                              "export with torch.onnx.export, and do not simplify")
        transposed = node.op_type == "MatMul" or node.op_type == "Gemm" and not attribute(node, "transB", 0)
        found[f"{module}.{('weight', 'bias')[place - 1]}"] = value.T if transposed and place == 1 else value


def _is_anonymous(name: str) -> bool:
    """Whether the export invented the name."""
    return "::" in name or name.startswith("/") or "." not in name and name not in ("pos_embed", "cls_token",
                                                                                   "dist_token", "reg_token")


def attribute(node: Any, name: str, otherwise: Any) -> Any:
    """The value of a node's attribute, or ``otherwise``."""
    return next((onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == name), otherwise)
