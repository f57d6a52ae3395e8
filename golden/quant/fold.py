# SPDX-License-Identifier: Apache-2.0
"""Constants moved to where they cost nothing, in float: exact in real arithmetic.

* LayerNorm's beta goes through the next linear into its bias: ``b + W beta``.
* The key bias goes: it adds the same to all logits of a row, which softmax cancels.
* The value bias goes through ``proj`` into its bias: the weights of a softmax sum to 1.
* Weights that read a LayerNorm are centred: its channels sum to zero before gamma, so the same may be added to all
  weights of an output, gamma undone. Then the machine's rounding of a row's mean cancels.
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
    """Constants (dim,) that the float model's keys and values contain and the folded ones do not."""

    key: np.ndarray
    value: np.ndarray


def fold(network: Network, tensors: Mapping[str, np.ndarray]) -> dict[str, Affine]:
    """All linear layers by their name in a quantised model. Gates: weight (tasks, experts, dim)."""
    value = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}
    patch = value["patch_embed.proj.weight"]
    # Patches are flattened as the image lies in memory: row, column, channel.
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
    """``weight`` (..., outputs, inputs) plus multiples of 1/gamma: the same outputs for inputs ``gamma x`` whose ``x``
    (inputs,) sum to zero, and none, or little, where all ``x`` are alike.

    An output whose largest weight would grow by more than ``GROWTH``, and so its rounding error, gets less of it.
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
    """What `fold` takes out of the keys and values of ``block``."""
    name = f"blocks.{block}"
    beta = np.asarray(tensors[f"{name}.norm1.bias"], np.float64)
    _, key, value = np.split(np.asarray(tensors[f"{name}.attn.qkv.weight"], np.float64), 3)
    _, key_bias, value_bias = np.split(np.asarray(tensors[f"{name}.attn.qkv.bias"], np.float64), 3)
    return Offsets(key_bias + key @ beta, value_bias + value @ beta)
