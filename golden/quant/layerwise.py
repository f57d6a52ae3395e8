# SPDX-License-Identifier: Apache-2.0
"""Runs the calibration images block by block through the float model and through the integers made so far.

Each layer is rounded for the inputs that the integers really give it. Its bias corrects the errors before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moevit.golden.integer.frame import Frame
from moevit.golden.integer.model import IntegerModel, patch_rows, row_operands
from moevit.golden.integer.row_scale import RowScale
from moevit.golden.reference import M3ViT, pixels
from moevit.golden.reference.moe import ACTIVATIONS

from .moments import Moments
from .temper import temper

__all__ = ["Layerwise"]

Tensors = Mapping[str, Any]


@dataclass
class _Sample:
    """One image under one task: rows of both models. ``float``: the tensors that the float block reports, by name."""

    image: np.ndarray
    task: int
    x_float: Tensor
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0))
    float: dict[str, Tensor] = field(default_factory=dict)


@final
class Layerwise:
    """Steps through a network while its layers get their integers.

    ``tensors``, in every method, are the integer tensors made so far; it uses those of its layers. ``fraction``:
    the fraction bits of the residual rows.
    """

    @torch.no_grad()
    def __init__(self, model: M3ViT, images: np.ndarray, fraction: int):
        self.network, self.blocks, self.unit, self.block = model.network, model.blocks, 2.0**-fraction, -1
        self.samples = []
        for image in images:
            patches = model.patch_embed(pixels(image[None]))
            embedded = torch.cat([model.prefix_tokens, patches], dim=1) + model.pos_embed
            self.samples += [_Sample(image, task, embedded) for task in range(len(self.network.tasks))]

    def pixels(self) -> Moments:
        """Moments of the inputs of the patch embedding."""
        rows = (patch_rows(self.network, sample.image) / 256 for sample in self.samples if sample.task == 0)
        return Moments.of((row, row) for row in rows)

    def embed(self, tensors: Tensors) -> None:
        integer = self._integer(tensors)
        for sample in self.samples:
            sample.x = integer.embed(Frame(), sample.image)

    @torch.no_grad()
    def enter(self, block: int) -> None:
        """Run the float block. The other methods then work on this block, called in the order in which they stand
        here."""
        self.block = block
        for sample in self.samples:
            sample.float, before = {}, sample.x_float
            sample.x_float = self.blocks[block](before, sample.task, sample.float.__setitem__)
            sample.float = {"x": before[0], **{name: value[0] for name, value in sample.float.items()}}

    def normed(self, name: str, tensors: Tensors, unit: float) -> Moments:
        """Moments of the layers that read ``norm1`` or ``norm2``, without beta. ``unit``: the value of operand x row
        scale = 1."""
        integer, beta = self._integer(tensors), getattr(self.blocks[self.block], name).bias.detach()
        normed = ((integer.norm(f"blocks.{self.block}.{name}", sample.x), sample) for sample in self.samples)
        return Moments.of((_real(rows.operands, rows.scale) * unit, (sample.float[name] - beta).numpy())
                          for rows, sample in normed)

    def temper(self, tensors: Tensors) -> np.ndarray:
        """The factor of each head's logits (heads,) that suits exponentials of eight bits."""
        integer, heads = self._integer(tensors), self.network.heads

        def attention() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for sample in self.samples:
                integer.attend(frame := Frame(), self.block, sample.x)
                values = frame.trace[f"{self.block}.v"]
                yield frame.trace[f"{self.block}.attn_logits"], np.stack(np.split(values, heads, axis=1))

        return temper(attention())

    def attend(self, tensors: Tensors, unit: np.ndarray, constant: np.ndarray) -> Moments:
        """Moments of the inputs of ``proj``. The integers' values lack ``constant``. ``unit`` as in `normed`."""
        integer = self._integer(tensors)
        for sample in self.samples:
            sample.rows = integer.attend(Frame(), self.block, sample.x)
        return Moments.of((_real(*row_operands(sample.rows)) * unit, sample.float["attn_out"].numpy() - constant)
                          for sample in self.samples)

    def project(self, tensors: Tensors) -> None:
        integer = self._integer(tensors)
        for sample in self.samples:
            sample.x = integer.project(Frame(), self.block, sample.rows, sample.x)

    def hidden(self, layer: str, kept: str, tensors: Tensors, unit: float, task: int | None = None) -> Moments:
        """Moments of the inputs of fc2 in a dense or shared FFN whose fc1 is ``layer``. The float block calls them
        ``kept``."""
        integer = self._integer(tensors)
        for sample in self._of(task):
            normed = integer.norm(f"blocks.{self.block}.norm2", sample.x)
            sample.rows = integer.hidden(Frame(), kept, layer, normed.operands, normed.scale)
        return Moments.of((_real(*row_operands(sample.rows)) * unit, sample.float[kept].numpy())
                          for sample in self._of(task))

    def contract(self, layer: str, tensors: Tensors) -> None:
        integer = self._integer(tensors)
        for sample in self.samples:
            sample.x = integer.contract(Frame(), self.block, layer, sample.rows, sample.x,
                                        sample.task if self.network.task_fc2 else None)

    @torch.no_grad()
    def experts_hidden(self, tensors: Tensors, unit: float) -> Moments:
        """Moments of the inputs of all experts' fc2, stacked. Every expert gets all tokens."""
        integer, name = self._integer(tensors), f"blocks.{self.block}"
        moe: Any = self.blocks[self.block].moe  # torch's types would allow a tensor here
        experts = moe.experts

        def rows(expert: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            weight, bias = experts.fc1.weight[expert], experts.fc1.bias[expert]
            for sample in self.samples:
                normed = integer.norm(f"{name}.norm2", sample.x)
                found = integer.hidden(Frame(), "", f"{name}.moe.fc1", normed.operands, normed.scale, expert)
                real = ACTIVATIONS[self.network.activation](F.linear(sample.float["norm2"], weight, bias))
                yield _real(*row_operands(found)) * unit, real.numpy()

        return Moments.stack(Moments.of(rows(expert)) for expert in range(self.network.experts))

    def experts(self, tensors: Tensors) -> None:
        integer = self._integer(tensors)
        for sample in self.samples:
            sample.x = integer.experts(Frame(), self.block, sample.x, sample.task)

    def drift(self, name: str, task: int | None = None) -> np.ndarray:
        """The mean over all tokens (dim,) of the float residual ``name`` less the integers' residual now."""
        return np.mean([(sample.float[name].numpy() - sample.x * self.unit).mean(axis=0)
                        for sample in self._of(task)], axis=0)

    def _of(self, task: int | None) -> list[_Sample]:
        return [sample for sample in self.samples if task in (None, sample.task)]

    def _integer(self, tensors: Tensors) -> IntegerModel:
        own = f"blocks.{self.block}." if self.block >= 0 else ""
        return IntegerModel.of_part(self.network, {name: np.asarray(tensor) for name, tensor in tensors.items()
                                                   if name.startswith(own)})


def _real(operands: np.ndarray, scale: RowScale) -> np.ndarray:
    """Operand x row scale (rows, inputs)."""
    return operands * np.ldexp(scale.mantissa, scale.exponent - 15)[:, None]
