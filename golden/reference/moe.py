# SPDX-License-Identifier: Apache-2.0
"""Mixture of experts: a gate per task chooses ``top_k`` experts for each token and weighs their outputs.

M3ViT (NeurIPS'22) has two gates. ``Network.renormalise`` selects one:

* False: softmax over all experts, then the top k (``noisy_vmoe``). The scores of a token sum to less than 1.
* True: softmax over the top k logits only (``noisy``). The scores of a token sum to 1.

A sigmoid gate scores each expert by itself. A selection bias (DeepSeek-V3, arXiv 2412.19437, section 2.1.2) only
changes the choice: it is added to the logits before a softmax, or to the scores of a sigmoid.

M3ViT's other variants are a bias and a mask. A task embedding that enters a shared gate adds a constant to each logit.
Experts reserved for a task are masked for the other tasks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moevit.spec.networks import Network

__all__ = ["ACTIVATIONS", "Experts", "Gate", "GateError", "Mlp", "MoE", "FloatRouting", "top_k"]

Activation = Callable[[Tensor], Tensor]
Keep = Callable[[str, Tensor], None]

#: By their names in ``Network.activation``.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
}


class GateError(ValueError):
    """A mask that leaves a task fewer experts than each token uses.

    Fix: allow at least ``top_k`` experts for every task.
    """


@dataclass(frozen=True)
class FloatRouting:
    """The result of a gate for each token. ``logits`` are before the mask, the others after it."""

    logits: Tensor  # (B, N, experts), with bias
    probs: Tensor  # (B, N, experts), the score of each expert if it is chosen
    index: Tensor  # (B, N, k), best first
    score: Tensor  # (B, N, k), probs at index


def top_k(logits: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` largest logits (..., E) -> (..., k), largest first. Among equal logits, the lower index
    comes first.

    ``torch.topk`` does not define the order of equal values, so this is a stable sort.
    """
    return logits.sort(dim=-1, descending=True, stable=True).indices[..., :k]


class Gate(nn.Module):
    """One linear gate per task.

    ``weight`` [tasks, experts, dim] and ``bias`` [tasks, experts] give the logits. ``mask`` [tasks, experts] is true
    where the task may use the expert. M3ViT's own gates have a bias of zero. ``select_bias`` [tasks, experts] exists if
    the network has one.
    """

    mask: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        tasks = len(network.tasks)
        self.top_k, self.renormalise, self.score = network.top_k, network.renormalise, network.gate
        self.weight = nn.Parameter(torch.empty(tasks, network.experts, network.dim))
        self.bias = nn.Parameter(torch.zeros(tasks, network.experts))
        self.select_bias = nn.Parameter(torch.zeros(tasks, network.experts)) if network.select_bias else None
        self.register_buffer("mask", torch.ones(tasks, network.experts, dtype=torch.bool))
        nn.init.normal_(self.weight, std=network.dim**-0.5)

    def allow(self, task: int, experts: Iterable[int]) -> None:
        """Restrict ``task`` to these experts. Raises GateError if they are fewer than ``top_k``."""
        allowed = torch.zeros_like(self.mask[task])
        allowed[list(experts)] = True
        mask = self.mask.clone()
        mask[task] = allowed
        self.check_mask(mask)
        self.mask.copy_(mask)

    def check_mask(self, mask: Tensor) -> None:
        """Raise GateError if ``mask`` leaves a task fewer than ``top_k`` experts."""
        for task, count in enumerate(mask.sum(-1).tolist()):
            if count < self.top_k:
                raise GateError(f"the mask of task {task} allows {count} experts, but a token uses {self.top_k}: "
                                f"allow at least {self.top_k}")

    def forward(self, x: Tensor, task: int) -> FloatRouting:
        logits = F.linear(x, self.weight[task], self.bias[task])
        allowed = logits.masked_fill(~self.mask[task], -torch.inf)
        probs = allowed.sigmoid() if self.score == "sigmoid" else allowed.softmax(-1)
        index = top_k(self._ranked(allowed, probs, task), self.top_k)
        if self.renormalise:
            winners = torch.zeros_like(self.mask[task]).expand_as(allowed).scatter(-1, index, True)
            chosen = (F.logsigmoid(allowed) if self.score == "sigmoid" else allowed).masked_fill(~winners, -torch.inf)
            probs = chosen.softmax(-1)
        return FloatRouting(logits, probs, index, probs.gather(-1, index))

    def _ranked(self, allowed: Tensor, probs: Tensor, task: int) -> Tensor:
        """The values that rank the experts."""
        if self.select_bias is None:
            return allowed
        if self.score == "sigmoid":
            return (probs + self.select_bias[task]).masked_fill(~self.mask[task], -torch.inf)
        return allowed + self.select_bias[task]


class Mlp(nn.Module):
    """The dense FFN. With ``tasks``, its fc2 has a weight [tasks, dim, hidden] and a bias [tasks, dim]."""

    def __init__(self, dim: int, hidden: int, activation: Activation, tasks: int = 0) -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = _StackedLinear(tasks, hidden, dim) if tasks else nn.Linear(hidden, dim)

    def forward(self, x: Tensor, task: int = 0, keep: Keep | None = None) -> Tensor:
        fc1 = self.fc1(x)
        hidden = self.activation(fc1)
        if isinstance(self.fc2, _StackedLinear):
            fc2 = F.linear(hidden, self.fc2.weight[task], self.fc2.bias[task])
        else:
            fc2 = self.fc2(hidden)
        if keep:
            keep("fc1", fc1)
            keep("gelu", hidden)
            keep("fc2", fc2)
        return fc2


class Experts(nn.Module):
    """``experts`` FFNs of the same shape: ``fc2[e](activation(fc1[e](x)))``. The first axis of the weights is the
    expert."""

    def __init__(self, experts: int, dim: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = _StackedLinear(experts, dim, hidden)
        self.fc2 = _StackedLinear(experts, hidden, dim)

    def forward(self, x: Tensor, index: Tensor, keep: Keep | None = None) -> Tensor:
        """Run each token (B, N, D) through its experts ``index`` (B, N, k) -> (B, N, k, D).

        It works expert by expert, as the machine does. A stable sort of all (token, rank) pairs by expert makes the
        queues.
        """
        expert_of_pair = index.flatten()
        order = expert_of_pair.argsort(stable=True)
        lengths = expert_of_pair.bincount(minlength=self.fc1.weight.shape[0]).tolist()

        def by_token(queued: Tensor) -> Tensor:
            return queued.index_select(0, order.argsort()).unflatten(0, index.shape)

        queued = x.flatten(0, 1).index_select(0, order // index.shape[-1])
        fc1 = self.fc1(queued, lengths)
        hidden = self.activation(fc1)
        fc2 = by_token(self.fc2(hidden, lengths))
        if keep:
            keep("fc1", by_token(fc1))
            keep("gelu", by_token(hidden))
            keep("fc2", fc2)
        return fc2


class MoE(nn.Module):
    """The sum over a token's top k experts of score x output, plus the shared FFN: (B, N, D) -> (B, N, D)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.gate = Gate(network)
        activation = ACTIVATIONS[network.activation]
        self.experts = Experts(network.experts, network.dim, network.expert_hidden, activation)
        self.shared = Mlp(network.dim, network.shared_hidden, activation) if network.shared_hidden else None

    def forward(self, x: Tensor, task: int, keep: Keep | None = None) -> Tensor:
        routing = self.gate(x, task)
        if keep:
            keep("gate_logits", routing.logits)
            keep("gate_probs", routing.probs)
            keep("top_k_index", routing.index)
            keep("top_k_score", routing.score)
        outputs = self.experts(x, routing.index, keep)
        routed = (routing.score.unsqueeze(-1) * outputs).sum(-2)
        if self.shared is None:
            return routed
        return routed + self.shared(x, task, partial(_keep_shared, keep) if keep else None)


def _keep_shared(keep: Keep, name: str, value: Tensor) -> None:
    keep(f"shared_{name}", value)


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
