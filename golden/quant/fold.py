# SPDX-License-Identifier: Apache-2.0
"""Moves constants of a float network to places where they cost nothing. The results are equal in real arithmetic.

* The beta of a LayerNorm passes through the next linear layer into its bias: ``b + W beta``.
* The key bias is dropped. It adds the same to all logits of a row, and softmax cancels it.
* The value bias passes through ``proj`` into its bias, because the weights of a softmax sum to 1.
* Weights that read a LayerNorm are centred. The channels sum to zero before gamma, so a common value (divided by gamma)
  may be added to all weights of an output. With centred weights, the rounding error of a row's mean cancels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from moevit.spec.networks import Network

__all__ = ["Affine", "Offsets", "centred", "fold", "offsets"]

GROWTH = 1.05


class Affine(NamedTuple):
    """A linear layer in float64: weight (..., outputs, inputs), bias (..., outputs)."""

    weight: np.ndarray
    bias: np.ndarray


class Offsets(NamedTuple):
    """Constants (dim,) in the keys and values of the float model that are not in the folded ones."""

    key: np.ndarray
    value: np.ndarray


def fold(network: Network, tensors: Mapping[str, np.ndarray]) -> dict[str, Affine]:
    """All linear layers under their names in a quantised model. A gate has the weight (tasks, experts, dim)."""
    value = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}
    patch = value["patch_embed.proj.weight"]
    # A patch is flattened in the order of the image in memory: row, column, channel.
    layers = {"patch_embed": Affine(patch.transpose(0, 2, 3, 1).reshape(network.dim, -1), np.zeros(network.dim))}
    for block in range(network.depth):
        name = f"blocks.{block}"
        offset = offsets(value, block)
        query, key, values = np.split(value[f"{name}.attn.qkv.weight"], 3)
        query_bias = np.split(value[f"{name}.attn.qkv.bias"], 3)[0]
        none, gamma = np.zeros(network.dim), value[f"{name}.norm1.weight"]
        layers[f"{name}.attn.query"] = Affine(centred(query, gamma), query_bias + query @ value[f"{name}.norm1.bias"])
        layers[f"{name}.attn.key"] = Affine(centred(key, gamma), none)
        layers[f"{name}.attn.value"] = Affine(centred(values, gamma), none)
        proj = value[f"{name}.attn.proj.weight"]
        layers[f"{name}.attn.proj"] = Affine(proj, value[f"{name}.attn.proj.bias"] + proj @ offset.value)
        gamma, beta = (value[f"{name}.norm2.{part}"] for part in ("weight", "bias"))
        ffns = ["mlp"]
        if network.is_moe(block):
            ffns = ["moe.experts", *(["moe.shared"] if network.shared_hidden else [])]
        for part in [*(["moe.gate"] if network.is_moe(block) else []), *(f"{ffn}.fc1" for ffn in ffns)]:
            weight = value[f"{name}.{part}.weight"]
            bias = value.get(f"{name}.{part}.bias", 0.0)  # a gate may have none
            layers[f"{name}.{part}".replace(".experts", "")] = Affine(centred(weight, gamma), bias + weight @ beta)
        for part in (f"{ffn}.fc2" for ffn in ffns):
            layers[f"{name}.{part}".replace(".experts", "")] = Affine(value[f"{name}.{part}.weight"],
                                                                      value[f"{name}.{part}.bias"])
    return layers


def centred(weight: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Add multiples of 1/gamma to ``weight`` (..., outputs, inputs), so that a common value of all ``x`` gives almost
    0.

    Inputs ``gamma x`` whose ``x`` (inputs,) sum to zero give the same outputs as before. An output gets only a part of
    the multiple if its largest weight would grow by more than the factor ``GROWTH``, since its rounding error grows
    alike.
    """
    if not gamma.all():
        return weight
    largest = np.abs(weight).max(axis=-1, keepdims=True)
    whole = -(weight @ gamma)[..., None] / len(gamma) / gamma
    result = weight
    for share in (0.25, 0.5, 1.0):
        moved = weight + share * whole
        result = np.where(np.abs(moved).max(axis=-1, keepdims=True) <= GROWTH * largest, moved, result)
    return result


def offsets(tensors: Mapping[str, np.ndarray], block: int) -> Offsets:
    """The constants that `fold` removes from the keys and values of ``block``."""
    name = f"blocks.{block}"
    beta = np.asarray(tensors[f"{name}.norm1.bias"], np.float64)
    _, key, value = np.split(np.asarray(tensors[f"{name}.attn.qkv.weight"], np.float64), 3)
    _, key_bias, value_bias = np.split(np.asarray(tensors[f"{name}.attn.qkv.bias"], np.float64), 3)
    return Offsets(key_bias + key @ beta, value_bias + value @ beta)
