# SPDX-License-Identifier: Apache-2.0
"""Mixture of experts: a gate per task picks ``top_k`` of the experts for each token, and weighs their outputs.

M3ViT (NeurIPS'22) has two gates, told apart by ``Network.renormalise``:

* False: softmax over all experts, then the top k (``noisy_vmoe``). The scores of a token sum to less than 1.
* True: softmax over the top k logits only (``noisy``). The scores of a token sum to 1.

Its other variants are a bias and a mask: a task embedding that enters a shared gate adds a constant to each logit,
and experts reserved for a task are experts masked for the others.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moevit.spec.networks import Network

__all__ = ["Experts", "Gate", "GateError", "MoE", "Routing", "top_k"]


class GateError(ValueError):
    """A mask that leaves a task fewer experts than each token uses."""


@dataclass(frozen=True)
class Routing:
    """What a gate says of each token. ``logits`` are before the mask; the others are after it."""

    logits: Tensor  # (B, N, experts), with bias
    probs: Tensor  # (B, N, experts)
    index: Tensor  # (B, N, k), best first
    score: Tensor  # (B, N, k), probs at index


def top_k(logits: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest logits (..., E) -> (..., k), largest first; of equal logits the lower index.

    ``torch.topk`` leaves the order of ties open, a stable sort does not.
    """
    return logits.sort(dim=-1, descending=True, stable=True).indices[..., :k]


class Gate(nn.Module):
    """One linear gate per task.

    ``weight`` [tasks, experts, dim] and ``bias`` [tasks, experts] make the logits; ``mask`` [tasks, experts] is true
    where the task may use the expert. M3ViT's own gates have no bias: it is zero then.
    """

    mask: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        tasks = len(network.tasks)
        self.top_k, self.renormalise = network.top_k, network.renormalise
        self.weight = nn.Parameter(torch.empty(tasks, network.experts, network.dim))
        self.bias = nn.Parameter(torch.zeros(tasks, network.experts))
        self.register_buffer("mask", torch.ones(tasks, network.experts, dtype=torch.bool))
        nn.init.normal_(self.weight, std=network.dim**-0.5)

    def allow(self, task: int, experts: Iterable[int]) -> None:
        """Let ``task`` use these experts only. Raises GateError when they are fewer than ``top_k``."""
        allowed = torch.zeros_like(self.mask[task])
        allowed[list(experts)] = True
        mask = self.mask.clone()
        mask[task] = allowed
        self.check_mask(mask)
        self.mask.copy_(mask)

    def check_mask(self, mask: Tensor) -> None:
        """Raise GateError unless ``mask`` leaves every task at least ``top_k`` experts."""
        for task, count in enumerate(mask.sum(-1).tolist()):
            if count < self.top_k:
                raise GateError(f"the mask of task {task} allows {count} experts, but a token uses {self.top_k}: "
                                f"allow at least {self.top_k}")

    def forward(self, x: Tensor, task: int) -> Routing:
        logits = F.linear(x, self.weight[task], self.bias[task])
        allowed = logits.masked_fill(~self.mask[task], -torch.inf)
        index = top_k(allowed, self.top_k)
        if self.renormalise:
            winners = torch.zeros_like(self.mask[task]).expand_as(allowed).scatter(-1, index, True)
            allowed = allowed.masked_fill(~winners, -torch.inf)
        probs = allowed.softmax(-1)
        return Routing(logits, probs, index, probs.gather(-1, index))


class Experts(nn.Module):
    """``experts`` FFNs of the same shape: ``fc2[e](gelu(fc1[e](x)))``, weights stacked with the expert first."""

    def __init__(self, experts: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = _StackedLinear(experts, dim, hidden)
        self.fc2 = _StackedLinear(experts, hidden, dim)

    def forward(self, x: Tensor, index: Tensor, keep: Callable[[str, Tensor], None] | None = None) -> Tensor:
        """Run each token (B, N, D) through its experts ``index`` (B, N, k) -> (B, N, k, D).

        Expert by expert, as the machine does: a stable sort of the (token, rank) slots by expert makes the queues.
        """
        expert_of_slot = index.flatten()
        order = expert_of_slot.argsort(stable=True)
        lengths = expert_of_slot.bincount(minlength=self.fc1.weight.shape[0]).tolist()

        def by_token(queued: Tensor) -> Tensor:
            return queued.index_select(0, order.argsort()).unflatten(0, index.shape)

        queued = x.flatten(0, 1).index_select(0, order // index.shape[-1])
        fc1 = self.fc1(queued, lengths)
        hidden = F.gelu(fc1)
        fc2 = by_token(self.fc2(hidden, lengths))
        if keep:
            keep("fc1", by_token(fc1))
            keep("gelu", by_token(hidden))
            keep("fc2", fc2)
        return fc2


class MoE(nn.Module):
    """Sum over a token's top k experts of score times expert output: (B, N, D) -> (B, N, D)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.gate = Gate(network)
        self.experts = Experts(network.experts, network.dim, network.expert_hidden)

    def forward(self, x: Tensor, task: int, keep: Callable[[str, Tensor], None] | None = None) -> Tensor:
        routing = self.gate(x, task)
        if keep:
            keep("gate_logits", routing.logits)
            keep("gate_probs", routing.probs)
            keep("top_k_index", routing.index)
            keep("top_k_score", routing.score)
        outputs = self.experts(x, routing.index, keep)
        return (routing.score.unsqueeze(-1) * outputs).sum(-2)


class _StackedLinear(nn.Module):
    """``experts`` linear layers: ``weight`` [experts, out, in], ``bias`` [experts, out]."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs))
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)

    def forward(self, queued: Tensor, lengths: list[int]) -> Tensor:
        """Rows (sum of lengths, in), the queue of expert 0 first -> (sum of lengths, out)."""
        return torch.cat([F.linear(queue, weight, bias)
                          for queue, weight, bias in zip(queued.split(lengths), self.weight, self.bias, strict=True)])
