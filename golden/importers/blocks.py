# SPDX-License-Identifier: Apache-2.0
"""Transformer blocks of any family, given the names of their parts, under the names of `golden.reference`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt

from torch import Tensor

from .errors import MissingTensor, Unsupported
from .fold import join, kernel_from_linear, scale_outputs
from .inventory import Inventory
from .options import PATCH_ORDERS, Options

__all__ = ["BlockNames", "attention", "depth_of", "embedding", "ffn", "linear", "norm"]


@dataclass(frozen=True)
class BlockNames:
    """Names of a block's parts in a source, without ``.weight`` and ``.bias``. ``{}`` stands for the block's number.

    ``qkv`` is one name, or three. ``scale1`` and ``scale2`` are the full names of LayerScale's vectors, for families
    that may have them.
    """

    norm1: str
    qkv: str | tuple[str, str, str]
    proj: str
    norm2: str
    fc1: str
    fc2: str
    scale1: str | None = None
    scale2: str | None = None


def depth_of(names: Iterable[str], pattern: str) -> int:
    """The number of blocks. Their names match ``pattern``, whose group is the block's number. Raises MissingTensor."""
    numbers = {int(found.group(1)) for name in names if (found := re.match(pattern, name))}
    for block in range(len(numbers)):
        if block not in numbers:
            raise MissingTensor(f"block {block} of {max(numbers) + 1} is missing from the checkpoint")
    if not numbers:
        raise MissingTensor(f"no tensor is of a block: none begins like {pattern}")
    return len(numbers)


def embedding(inventory: Inventory, name: str, options: Options) -> dict[str, Tensor]:
    """A patch embedding: the kernel (dim, 3, patch, patch), and the bias (dim,), zero if absent.

    The source has a convolution, or a linear layer over flattened patches. ``options.patch_order`` says how such
    patches were flattened; it is missing if it is unknown. Raises Unsupported.
    """
    if inventory.look(f"{name}.weight").ndim == 2:
        kernel = _unflattened(inventory, name, options)
    else:
        kernel = inventory.take(f"{name}.weight", (-1, -1, -1, -1))
    dim, channels, height, width = kernel.shape
    if channels != 3 or height != width:
        raise Unsupported(f"{name}.weight is a kernel of {channels} x {height} x {width}: the machine's patches are "
                          "square and of three channels")
    return {"patch_embed.proj.weight": kernel, "patch_embed.proj.bias": inventory.maybe(f"{name}.bias", (dim,))}


def _unflattened(inventory: Inventory, name: str, options: Options) -> Tensor:
    weight = inventory.take(f"{name}.weight", (-1, -1))
    patch = isqrt(weight.shape[1] // 3)
    if 3 * patch * patch != weight.shape[1]:
        raise Unsupported(f"{name}.weight has {weight.shape[1]} inputs, which is no square patch of three channels")
    order = options.patch_order
    if order not in PATCH_ORDERS:
        inventory.missing.add("--patch-order", f"{name}.weight is a linear layer over flattened patches, whose order "
                                               "no shape says")
    inventory.report.say("folded", f"a linear layer over patches of {patch}x{patch} ({order}) into a kernel")
    return kernel_from_linear(weight, patch, order == "rgb-last")


def norm(inventory: Inventory, name: str, dim: int) -> tuple[Tensor, Tensor]:
    """Weight and bias (dim,) of a LayerNorm. Raises Unsupported for one without bias, which is probably an RMSNorm."""
    weight = inventory.take(f"{name}.weight", (dim,))
    if f"{name}.bias" not in inventory:
        raise Unsupported(f"{name}.weight has no bias beside it, as in RMSNorm, which subtracts no mean: the machine's "
                          "norm is LayerNorm")
    return weight, inventory.take(f"{name}.bias", (dim,))


def linear(inventory: Inventory, name: str, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Weight (outputs, inputs) and bias of a linear layer or a 1 x 1 convolution. -1 stands for any length.

    An absent bias is zero. A name that ends in ``_`` gets no dot: ``nn.MultiheadAttention`` has ``in_proj_weight``.
    """
    dotted = name if name.endswith("_") else f"{name}."
    if inventory.look(f"{dotted}weight").ndim == 4:
        weight = inventory.take(f"{dotted}weight", (outputs, inputs, 1, 1)).flatten(1)
    else:
        weight = inventory.take(f"{dotted}weight", (outputs, inputs))
    return weight, inventory.maybe(f"{dotted}bias", (weight.shape[0],))


def attention(inventory: Inventory, names: BlockNames, block: int, dim: int) -> dict[str, Tensor]:
    """``norm1``, ``attn.qkv``, ``attn.proj`` and ``norm2`` of ``blocks.<block>``, with LayerScale folded.

    Raises BadTensor if heads share keys (grouped queries): qkv must have 3 dim rows.
    """
    qkv = names.qkv
    if isinstance(qkv, str):
        weight, bias = linear(inventory, qkv.format(block), 3 * dim, dim)
    else:
        parts = [linear(inventory, part.format(block), dim, dim) for part in qkv]
        weight, bias = join([part[0] for part in parts]), join([part[1] for part in parts])
        inventory.report.say("folded", "separate q, k and v are joined")
    return _named(f"blocks.{block}.", {
        "norm1": norm(inventory, names.norm1.format(block), dim),
        "attn.qkv": (weight, bias),
        "attn.proj": _scaled(inventory, linear(inventory, names.proj.format(block), dim, dim), names.scale1, block),
        "norm2": norm(inventory, names.norm2.format(block), dim)})


def ffn(inventory: Inventory, names: BlockNames, block: int, dim: int, hidden: int) -> dict[str, Tensor]:
    """``mlp.fc1`` and ``mlp.fc2`` of ``blocks.<block>``, with LayerScale folded. Raises Unsupported for a gated FFN."""
    first, last = names.fc1.format(block), names.fc2.format(block)
    outputs, inputs = inventory.look(f"{first}.weight").shape[0], inventory.look(f"{last}.weight").shape[1]
    if outputs == 2 * inputs:
        raise Unsupported(f"{first}.weight: SwiGLU, its {outputs} outputs are two halves that are multiplied for the "
                          f"{inputs} inputs of {last}, which the machine does not do")
    return _named(f"blocks.{block}.mlp.", {
        "fc1": linear(inventory, first, hidden, dim),
        "fc2": _scaled(inventory, linear(inventory, last, dim, hidden), names.scale2, block)})


def _scaled(inventory: Inventory, layer: tuple[Tensor, Tensor], name: str | None, block: int) -> tuple[Tensor, Tensor]:
    name = name and name.format(block)
    if name is None or name not in inventory:
        return layer
    inventory.report.say("folded", "LayerScale of each block into proj and fc2")
    return scale_outputs(*layer, inventory.take(name, layer[1].shape))


def _named(prefix: str, layers: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {f"{prefix}{name}.{kind}": value for name, pair in layers.items()
            for kind, value in zip(("weight", "bias"), pair, strict=True)}
