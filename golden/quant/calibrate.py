# SPDX-License-Identifier: Apache-2.0
"""What the quantiser must know about a network's data, from the float model on a few images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moevit.golden.reference import M3ViT, pixels
from moevit.golden.reference.moe import ACTIVATIONS
from moevit.spec.networks import Network

from .errors import CalibrationError
from .fold import offsets

__all__ = ["Statistics", "calibrate"]


@dataclass
class Statistics:
    """Largest magnitudes over all images and tasks, and how the inputs of each linear layer move together.

    ``query``, ``key``, ``value`` (depth, dim); keys and values are without the constants that `fold` moves elsewhere,
    and so are the inputs. ``loads[block]`` (images, tasks, experts) counts the tokens of each expert. ``gram[layer]``
    is the mean of ``x x^T`` over the rows that enter the layer (inputs, inputs); one per expert for ``moe.fc2``,
    whose experts are all shown all tokens.
    """

    residual: float
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    loads: dict[int, np.ndarray] = field(default_factory=dict)
    gram: dict[str, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def calibrate(model: M3ViT, tensors: Mapping[str, np.ndarray], images: np.ndarray, grams: bool = True) -> Statistics:
    """Run u8 ``images`` (images, H, W, 3) through all tasks. Raises CalibrationError."""
    network = model.network
    images = _checked(network, images)
    found = Statistics(0.0, *np.zeros((3, network.depth, network.dim)))
    constants = [offsets(tensors, block) for block in range(network.depth)]
    found.loads = {block: np.zeros((len(images), len(network.tasks), network.experts), np.int64)
                   for block in filter(network.is_moe, range(network.depth))}
    for index, image in enumerate(images):
        for task in range(len(network.tasks)):
            floats = pixels(image[None])
            trace = {name: value[0] for name, value in model.trace(floats, task).items()}
            found.residual = max(found.residual, *(float(value.abs().max()) for name, value in trace.items()
                                                   if name.endswith(("x_embed", "x_post_attn", "x_post_mlp"))))
            for block, constant in enumerate(constants):
                trace[f"{block}.k"] = trace[f"{block}.k"] - torch.from_numpy(constant.key)
                for part in ("v", "attn_out"):
                    trace[f"{block}.{part}"] = trace[f"{block}.{part}"] - torch.from_numpy(constant.value)
                query, key, value = (np.abs(trace[f"{block}.{part}"].numpy()) for part in "qkv")
                for part, values in (("query", query), ("key", key), ("value", value)):
                    peak = getattr(found, part)
                    peak[block] = np.maximum(peak[block], values.max(axis=0))
            for block, load in found.loads.items():
                load[index, task] = trace[f"{block}.top_k_index"].flatten().bincount(minlength=network.experts).numpy()
            if grams:
                for name, rows in _inputs(network, tensors, floats, trace):
                    gram = (rows.mT @ rows / rows.shape[-2]).double().numpy() / len(images) / len(network.tasks)
                    found.gram[name] = found.gram.get(name, 0.0) + gram
    return found


def _inputs(network: Network, tensors: Mapping[str, np.ndarray], image: Tensor,
            trace: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Layer names and the rows that enter them (rows, inputs), or (experts, rows, inputs)."""
    flat = F.unfold(image, network.patch, stride=network.patch)[0].T  # (patches, channel x row x column)
    yield "patch_embed", flat.unflatten(1, (3, -1)).transpose(1, 2).flatten(1)
    for block in range(network.depth):
        name = f"blocks.{block}"
        normed = trace[f"{block}.norm1"] - torch.from_numpy(tensors[f"{name}.norm1.bias"])
        for part in ("query", "key", "value"):
            yield f"{name}.attn.{part}", normed
        yield f"{name}.attn.proj", trace[f"{block}.attn_out"]
        normed = trace[f"{block}.norm2"]
        folded = normed - torch.from_numpy(tensors[f"{name}.norm2.bias"])
        if network.is_moe(block):
            weight, bias = (torch.from_numpy(tensors[f"{name}.moe.experts.fc1.{part}"]) for part in ("weight", "bias"))
            yield f"{name}.moe.fc1", folded
            yield f"{name}.moe.fc2", ACTIVATIONS[network.activation](normed @ weight.mT + bias.unsqueeze(1))
            if network.shared_hidden:
                yield f"{name}.moe.shared.fc1", folded
                yield f"{name}.moe.shared.fc2", trace[f"{block}.shared_gelu"]
        else:
            yield f"{name}.mlp.fc1", folded
            yield f"{name}.mlp.fc2", trace[f"{block}.gelu"]


def _checked(network: Network, images: np.ndarray) -> np.ndarray:
    expected = (network.height, network.width, 3)
    if images.ndim != 4 or images.shape[1:] != expected or images.dtype != np.uint8:
        raise CalibrationError(f"{network.name} is calibrated on u8 images (images, {', '.join(map(str, expected))}), "
                               f"not on {images.dtype} {images.shape}")
    if len(images) == 0:
        raise CalibrationError("no calibration images: give at least one")
    if all((image == image[0, 0]).all() for image in images):
        raise CalibrationError(f"every one of the {len(images)} calibration images is a single colour: give real ones")
    return np.ascontiguousarray(images)
