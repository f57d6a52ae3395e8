# SPDX-License-Identifier: Apache-2.0
"""The order in which the machine numbers the experts: those that every task needs come first.

The machine may fetch the first experts early (``speculate``). A load (images, tasks, experts) counts the tokens of each
expert.
"""

import numpy as np

__all__ = ["USUAL", "expert_order", "renumber", "speculated"]

#: The least share of images in which an expert must have tokens, for every task, to be fetched early. An early fetch
#: saves as much time when the expert is needed as it costs when it is not.
USUAL = 0.5


def expert_order(load: np.ndarray) -> np.ndarray:
    """The original number of each expert (experts,): heaviest first, by the load in the task where it is lightest.

    So an expert that one task never uses comes late. Equal loads keep their order.
    """
    return np.argsort(-load.sum(axis=0).min(axis=0), kind="stable")


def speculated(load: np.ndarray, order: np.ndarray) -> int:
    """The number of experts, counted from the first, that have tokens for every task in more than ``USUAL`` of the
    images."""
    usual = ((load > 0).mean(axis=0) > USUAL).all(axis=0)[order]
    return len(usual) if usual.all() else int(np.argmin(usual))


def renumber(tensors: dict[str, np.ndarray], name: str, order: np.ndarray) -> None:
    """Put the gates and experts of the integer ``tensors`` of MoE layer ``name`` into ``order``, in place."""
    for part in ("weight", "column_scale", "bias", "select_bias"):
        gate = f"{name}.gate.{part}"
        if gate in tensors:
            tensors[gate] = tensors[gate][:, order]
    for part in ("weight", "column_scale", "bias"):
        for layer in ("fc1", "fc2"):
            tensors[f"{name}.{layer}.{part}"] = tensors[f"{name}.{layer}.{part}"][order]
