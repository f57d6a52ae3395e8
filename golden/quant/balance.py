# SPDX-License-Identifier: Apache-2.0
"""Gate biases that spread the tokens of a synthetic network over the experts as a trained network does."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch

from moevit.golden.reference import load_state, pixels
from moevit.golden.reference.moe import top_k
from moevit.spec.networks import Network

__all__ = ["balance", "biases_for"]

_IDLE = -32.0  # the bias of an expert without tokens; it fits the quantised bias
_ROUNDS = 400


def biases_for(logits: np.ndarray, loads: Sequence[int], k: int) -> np.ndarray:
    """Biases f32 (experts,) that make the top ``k`` of ``logits`` (tokens, experts) give each expert its count in
    ``loads``.

    Each round raises the bias of experts with too few tokens, and lowers that of experts with too many. The steps
    become smaller. Returns the best biases found. A few tokens may differ from ``loads``.
    """
    wanted = np.asarray(loads)
    bias = np.where(wanted == 0, _IDLE, 0.0)
    best, least = bias, wanted.sum() + 1
    for turn in range(_ROUNDS):
        index = top_k(torch.from_numpy(logits + bias), k).numpy()
        found = np.bincount(index.ravel(), minlength=len(wanted))
        wrong = int(np.abs(found - wanted).sum())
        if wrong < least:
            best, least = bias, wrong
        if wrong == 0:
            break
        step = np.log(wanted + 0.5) - np.log(found + 0.5)
        bias = np.where(wanted == 0, bias, bias + step / (1 + turn / 20))
    return best.astype(np.float32)


def balance(network: Network, tensors: Mapping[str, np.ndarray], image: np.ndarray,
            loads: Callable[[Network, int], Mapping[int, Sequence[int]]], keep: Collection[int] = ()
            ) -> dict[str, np.ndarray]:
    """``tensors`` with gate biases that route ``image`` u8 (H, W, 3) as ``loads(network, task)`` says.

    It runs the float model block by block, because the routing of a block changes the input of the next. The gates of
    blocks in ``keep`` stay as they are. The quantised network routes all but a few tokens like the float one.
    """
    floats = pixels(image[None])
    model = load_state(network, {name: torch.from_numpy(np.ascontiguousarray(tensor))
                                 for name, tensor in tensors.items()})
    for block in (block for block in range(network.depth) if network.is_moe(block) and block not in keep):
        bias = model.get_parameter(f"blocks.{block}.moe.gate.bias").data
        for task in range(len(network.tasks)):
            logits = model.trace(floats, task)[f"{block}.gate_logits"][0].numpy()
            bias[task] += torch.from_numpy(biases_for(logits, loads(network, task)[block], network.top_k))
    biases = {name: value.numpy() for name, value in model.state_dict().items() if name.endswith("gate.bias")}
    return {**tensors, **biases}
