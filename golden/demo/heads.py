# SPDX-License-Identifier: Apache-2.0
"""Heads of the demo's tasks, which run per patch on the host: a LayerNorm and one linear layer each.

``moevit.host.heads`` computes the same in numpy from the same tensors.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from moevit.golden.reference.checkpoint import HEADS, CheckpointError
from moevit.spec.networks import Network

from .scenes import CLASSES

__all__ = ["OUTPUTS", "Heads", "loss"]

OUTPUTS = {"semseg": len(CLASSES), "depth": 1}


class PatchHead(nn.Module):
    """``fc(norm(token))`` for every patch."""

    def __init__(self, network: Network, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(network.dim, eps=network.norm_eps)
        self.fc = nn.Linear(network.dim, outputs)

    def forward(self, patches: Tensor) -> Tensor:
        return self.fc(self.norm(patches))


class Heads(nn.ModuleDict):
    """One head per task: ``heads.<task>.norm.weight``, ``.norm.bias``, ``.fc.weight`` [outputs, dim], ``.fc.bias``."""

    def __init__(self, network: Network) -> None:
        super().__init__({task: PatchHead(network, OUTPUTS[task]) for task in network.tasks})
        self.prefix_tokens = network.prefix_tokens

    def forward(self, tokens: Tensor, task: str) -> Tensor:
        """Tokens (B, N, D) -> (B, patches, outputs of the task). Prefix tokens are left out."""
        return self[task](tokens[:, self.prefix_tokens :])

    def tensors(self) -> dict[str, Tensor]:
        """The tensors under their names in a checkpoint file."""
        return {HEADS + name: value for name, value in self.state_dict().items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take the head tensors of a checkpoint file. Names without ``heads.`` in front are ignored.

        Raises CheckpointError for heads that are missing, unknown or of another shape. It then takes none.
        """
        own = {name.removeprefix(HEADS): value for name, value in tensors.items() if name.startswith(HEADS)}
        for name, value in self.state_dict().items():
            if name not in own or own[name].shape != value.shape:
                found = tuple(own[name].shape) if name in own else "missing"
                raise CheckpointError(f"{HEADS}{name} is {found}, it must be {tuple(value.shape)}")
        for name in own.keys() - self.state_dict().keys():
            raise CheckpointError(f"{HEADS}{name} belongs to no head of tasks {', '.join(self)}")
        self.load_state_dict(own)


def loss(outputs: Tensor, labels: Tensor, task: str) -> Tensor:
    """Cross entropy for ``semseg`` (labels int64), mean squared error for ``depth``. Labels are (B, patches)."""
    if task == "semseg":
        return F.cross_entropy(outputs.flatten(0, 1), labels.flatten())
    return F.mse_loss(outputs.squeeze(-1), labels)
