# SPDX-License-Identifier: Apache-2.0
"""M3ViT (VITA-Group/M3ViT): experts of fastmoe, stacked or one by one, and a gate per task.

Sources: models/vision_transformer_moe.py, models/custom_moe_layer.py and models/gate_funs. A file with ``w_noise`` has
the gate ``noisy``, whose softmax is over the top k. The gate ``noisy_vmoe`` lacks it; its softmax is over all experts.
"""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import BlockNames, attention, depth_of, embedding, ffn
from .draft import Draft
from .errors import BadTensor, Unsupported
from .experts import take_experts, take_gates
from .facts import Facts, settle
from .family import Family
from .inventory import Inventory
from .options import Options
from .positions import TIMM, find_grid
from .source import CheckpointSource

__all__ = ["M3Vit"]

_BLOCKS = BlockNames("blocks.{}.norm1", "blocks.{}.attn.qkv", "blocks.{}.attn.proj", "blocks.{}.norm2",
                     "blocks.{}.mlp.fc1", "blocks.{}.mlp.fc2")
_EXPERT = r"blocks\.(\d+)\.(mlp|moe)\.experts\.(\d+\.)?(htoh4|fc1)\.weight"
_USUAL = Facts(activation="gelu", norm_eps=1e-6)
#: A gate's input is the token's channels, followed by this embedding of the task.
_TASK = "gate_task_represent"


class M3Vit(Family):
    """Multi-task MoE ViTs with a gate for each task."""

    name = "m3vit"
    title = "VITA-Group M3ViT"
    keys = (_EXPERT, r"blocks\.\d+\.(mlp|moe)\.gate\..*", r"patch_embed\.proj\.weight")

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        _leave_out(inventory)
        tensors = embedding(inventory, "patch_embed.proj", options)
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        prefix = [inventory.take(name, (1, 1, dim)) for name in ("cls_token", "dist_token") if name in inventory]
        tensors["prefix_tokens"] = torch.cat([*prefix, torch.zeros(1, 0, dim, dtype=torch.float64)], 1)
        tensors["pos_embed"] = inventory.take("pos_embed", (1, -1, dim))
        grid, _ = find_grid("pos_embed", tensors["pos_embed"].shape[1], [len(prefix)], patch, options,
                            inventory.missing)
        depth = depth_of(inventory.names(), r"blocks\.(\d+)\.")
        moe = {int(found[1]): found[2] for name in inventory.names() if (found := re.fullmatch(_EXPERT, name))}
        for block in range(depth):
            tensors |= attention(inventory, _BLOCKS, block, dim)
            tensors |= _moe(inventory, f"blocks.{block}.{moe[block]}", block, dim) if block in moe else ffn(
                inventory, _BLOCKS, block, dim, -1)
        fields = _fields(inventory, tensors, depth, tuple(sorted(moe)), options)
        return Draft(fields | {"patch": patch, "dim": dim, "prefix_tokens": len(prefix)}, tensors, grid,
                     options.preprocess(None, inventory.missing, "an M3ViT checkpoint"), TIMM)


def _leave_out(inventory: Inventory) -> None:
    inventory.drop("decoder*", "convolutions of a task's decoder run neither on the machine nor in the host's heads")
    inventory.drop("tam_model*", "task affinity, used in training only")
    inventory.drop("blocks.*.gate.*w_noise*", "noise of a gate, used in training only")
    inventory.drop("blocks.*.gate.*w_gate_aux", "a second gate for the loss, used in training only")
    inventory.drop("blocks.*.gate.*head.*", "a classifier of gates, used in training only")


def _fields(inventory: Inventory, tensors: dict[str, Tensor], depth: int, moe: tuple[int, ...],
            options: Options) -> dict[str, Any]:
    experts = tensors[f"blocks.{moe[0]}.moe.experts.fc1.weight"]
    dense = next((block for block in range(depth) if block not in moe), None)
    if options.top_k is None:
        inventory.missing.add("--top-k", "no tensor says how many experts a token uses (2 or 4 in the published "
                                         "recipes)")
    inventory.report.say("assumed", "a gate reads what the experts read (gate_input_ahead is off), and no expert is "
                                    "reserved for a task")
    return {"depth": depth, "tasks": _tasks(inventory, tensors, moe, options),
            "hidden": experts.shape[1] if dense is None else tensors[f"blocks.{dense}.mlp.fc1.weight"].shape[0],
            "experts": experts.shape[0], "expert_hidden": experts.shape[1], "top_k": options.top_k, "moe_blocks": moe,
            "renormalise": _renormalise(inventory, options),
            **settle(Facts(), _USUAL, options, inventory, "M3ViT")}


def _tasks(inventory: Inventory, tensors: dict[str, Tensor], moe: tuple[int, ...],
           options: Options) -> tuple[str, ...]:
    gates = {tensors[f"blocks.{block}.moe.gate.weight"].shape[0] for block in moe}
    if len(gates) > 1:
        raise BadTensor(f"blocks have gates for {' or '.join(map(str, sorted(gates)))} tasks")
    count = gates.pop()
    if options.tasks is None and count == 1:
        return ("tokens",)
    if options.tasks is None or len(options.tasks) != count:
        inventory.missing.add("--tasks", f"each MoE block has gates for {count} tasks, which no tensor names")
    return options.tasks or ()


def _renormalise(inventory: Inventory, options: Options) -> bool:
    if options.renormalise is not None:
        return options.renormalise
    gates = [name for name in inventory.tensors if ".gate." in name]
    if any(name.endswith("w_noise") for name in gates):
        inventory.report.say("read", "gates with w_noise are M3ViT's 'noisy': a softmax over the top k")
        return True
    if any(name.endswith("w_gate") for name in gates):
        inventory.report.say("assumed", "gates w_gate without w_noise are M3ViT's 'noisy_vmoe': a softmax over all "
                                        "experts, before the top k (--renormalise for the other)")
        return False
    inventory.missing.add("--renormalise", f"{gates[0]} does not say whether a token's scores are a softmax over its "
                                           "top k or over all experts")
    return False


def _moe(inventory: Inventory, name: str, block: int, dim: int) -> dict[str, Tensor]:
    """The tensors of a MoE block under the names of `golden.reference`. ``name`` is the source's."""
    tensors = {}
    for part, names in (("fc1", ("htoh4", "fc1")), ("fc2", ("h4toh", "fc2"))):
        for kind in ("weight", "bias"):
            tensors[f"experts.{part}.{kind}"] = take_experts(inventory, f"{name}.experts", names, kind)
    weight, bias = _gates(inventory, f"{name}.gate", dim)
    experts = tensors["experts.fc1.weight"].shape[0]
    if weight.shape[1] != experts:
        raise BadTensor(f"{name}: its gates choose among {weight.shape[1]} experts, but {experts} are in the file: "
                        "merge the files of all ranks that the experts were trained on")
    tensors |= {"gate.weight": weight, "gate.bias": bias}
    return {f"blocks.{block}.moe.{part}": value for part, value in tensors.items()}


def _gates(inventory: Inventory, name: str, dim: int) -> tuple[Tensor, Tensor]:
    """Weight (tasks, experts, dim) and bias (tasks, experts), from ``w_gate`` (inputs, experts) or from ``weight``."""
    if f"{name}.weight" in inventory:
        weight = take_gates(inventory, f"{name}.weight", dim)
        return weight, inventory.maybe(f"{name}.bias", weight.shape[:2]).reshape(weight.shape[:2])
    if f"{name}.w_gate" in inventory:
        shared = inventory.take(f"{name}.w_gate")
        bias = _task_bias(inventory, shared[dim:])
        return shared[:dim].T.expand(len(bias), -1, -1), bias
    tasks = len(inventory.names(f"{name}.*.w_gate"))
    gates = torch.stack([inventory.take(f"{name}.{task}.w_gate", (dim, -1)).T for task in range(tasks)])
    return gates, torch.zeros(gates.shape[:2], dtype=torch.float64)


def _task_bias(inventory: Inventory, rows: Tensor) -> Tensor:
    """The bias (tasks, experts) that task embeddings give to a gate that all tasks share.

    ``rows`` are the gate's weights for the embedding. The embedding is the same for every token, so this is exact.
    """
    if not len(rows):
        return torch.zeros(1, rows.shape[1], dtype=torch.float64)
    if f"{_TASK}.fc1.weight" not in inventory.tensors:
        raise Unsupported(f"{len(rows)} inputs of a gate are no channels of a token, and {_TASK} is not there")
    part = {name: inventory.take(f"{_TASK}.{name}") for name in (
        "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "norm.weight", "norm.bias")}
    hidden = F.gelu(part["fc1.weight"].T + part["fc1.bias"])  # for the unit vector of each task
    embedded = F.layer_norm(F.linear(hidden, part["fc2.weight"], part["fc2.bias"]), (len(rows),), part["norm.weight"],
                            part["norm.bias"], 1e-6)
    inventory.report.say("folded", "task embeddings into a bias of each gate")
    return embedded @ rows
