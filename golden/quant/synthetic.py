# SPDX-License-Identifier: Apache-2.0
"""Random networks that behave like trained ones, for tests and for timing networks without their weights."""

import numpy as np

from moevit.golden.reference import M3ViT
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel

from .quantiser import quantise

__all__ = ["synthetic_checkpoint", "synthetic_images", "synthetic_model"]


def synthetic_checkpoint(network: Network, seed: int) -> dict[str, np.ndarray]:
    """Float32 tensors of ``network`` under the names of `golden.reference`, drawn from a seeded Gaussian.

    The standard deviations make each layer's outputs about as large as in m3vit_tiny: 1/sqrt(inputs) for weights, 0.1
    for biases and betas, 0.1 around 1 for gammas. Gates have twice the weights, so that their logits prefer some
    experts.
    """
    rng = np.random.default_rng((seed, network.dim, network.depth))
    tensors = {}
    for name, tensor in M3ViT(network).state_dict().items():
        if name.endswith(".mask"):
            continue
        shape = tuple(tensor.shape)
        if "norm" in name:
            value = float(name.endswith("weight")) + 0.1 * rng.standard_normal(shape)
        elif name in ("pos_embed", "prefix_tokens"):
            value = 0.5 * rng.standard_normal(shape)
        elif name.endswith("bias"):
            value = 0.1 * rng.standard_normal(shape)
        else:
            inputs = np.prod(shape[1:]) if name == "patch_embed.proj.weight" else shape[-1]
            gain = 3.0 if name == "patch_embed.proj.weight" else 2.0 if name.endswith("gate.weight") else 1.0
            value = gain / np.sqrt(inputs) * rng.standard_normal(shape)
        tensors[name] = value.astype(np.float32)
    return tensors


def synthetic_images(network: Network, seed: int, count: int) -> np.ndarray:
    """Images u8 (count, H, W, 3) with a random colour in each quarter of a patch."""
    rng = np.random.default_rng((seed, count))
    size = max(network.patch // 2, 1)
    colours = rng.integers(0, 256, (count, network.height // size, network.width // size, 3), dtype=np.uint8)
    return colours.repeat(size, axis=1).repeat(size, axis=2)


def synthetic_model(network: Network, seed: int) -> QuantisedModel:
    """A `synthetic_checkpoint`, quantised with two `synthetic_images`. Weights are rounded to nearest."""
    return quantise(network, synthetic_checkpoint(network, seed), synthetic_images(network, seed, 2), compensate=False)
