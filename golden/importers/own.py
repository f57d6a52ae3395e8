# SPDX-License-Identifier: Apache-2.0
"""moevit checkpoints (`golden.reference.checkpoint`), as they are or with parts that a training adds."""

import json
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from moevit.golden.reference import M3ViT
from moevit.golden.reference.checkpoint import HEADS
from moevit.spec.networks import Network, NetworkError

from .draft import Draft, DraftHead
from .errors import ImportFailed, NotProved, Unreadable
from .experts import shaped, take_experts, take_gates
from .family import Family, Original
from .fold import scale_outputs
from .inventory import Inventory
from .options import RAW, Options
from .positions import TIMM
from .source import CheckpointSource
from .timm import PREFIX, classifier

__all__ = ["Own"]

#: Tensors that may be absent. An absent bias is zero, an absent mask allows every expert.
_OPTIONAL = (".gate.bias", ".gate.mask")
#: LayerScale's vectors -> the layer that each is folded into.
_SCALES = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2"}


class Own(Family):
    """safetensors with ``network`` in the metadata. LayerScale and a classifier may be present under timm's names."""

    name = "moevit"
    title = "moevit"
    keys = ("patch_embed.proj.weight", "pos_embed")

    def tells(self, source: CheckpointSource) -> bool:
        return "network" in source.metadata

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        network = _network(source)
        for option in ("heads", "activation", "norm_eps", "top_k", "tasks"):
            given, own = getattr(options, option, None), getattr(network, option)
            if given is not None and given != own:
                raise ImportFailed(f"--{option.replace('_', '-')} {given}: the metadata of {source.path} say {own}")
        tensors = {}
        with torch.device("meta"):
            expected = M3ViT(network).state_dict()
        for name, value in expected.items():
            if name == "prefix_tokens":
                tensors[name] = _prefix(inventory, network)
            elif ".moe.experts." in name and name not in inventory:
                front, part, kind = name.rsplit(".", 2)
                tensors[name] = shaped(name, take_experts(inventory, front, (part,), kind), value.shape)
            elif name.endswith(".moe.gate.weight"):
                tensors[name] = shaped(name, take_gates(inventory, name, network.dim), value.shape)
            elif name in source.tensors or not name.endswith(_OPTIONAL):
                tensors[name] = inventory.take(name, value.shape, value.dtype)
        _fold_scales(inventory, tensors, network.depth)
        host = _json(source, "host")
        heads = _own_heads(inventory, network, host) | classifier(
            inventory, asdict(network), network.final_norm, options)
        fields = {name: value for name, value in asdict(network).items()
                  if name not in ("name", "height", "width", "final_norm")}
        grid = network.height // network.patch, network.width // network.patch
        draft = Draft(fields, tensors, grid, None, TIMM, heads)
        if options.normalise is not None or options.mean is not None:
            if _folded(host):
                raise ImportFailed(f"{source.path} is imported already, its mean and std are folded: leave out "
                                   "--normalise, --mean and --std")
            draft.preprocess = options.preprocess(None, inventory.missing, source.path.name)
        else:
            inventory.report.say("read", "pixels are u8 / 256 with no other normalisation, as in moevit's checkpoints")
            draft.known_host = host
        draft.name = network.name
        return draft

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        raise NotProved("a moevit checkpoint is the float model's own")


def _network(source: CheckpointSource) -> Network:
    if "network" not in source.metadata:
        raise Unreadable(f"{source.path} has no 'network' in its metadata")
    try:
        return Network.from_fields(_json(source, "network"))
    except NetworkError as error:
        raise ImportFailed(f"{source.path}: its network is not readable: {error}") from error


def _json(source: CheckpointSource, field: str) -> dict[str, Any]:
    try:
        value = json.loads(source.metadata.get(field, "{}"))
    except ValueError as error:
        raise Unreadable(f"{source.path}: {field!r} in its metadata is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{source.path}: {field!r} in its metadata must be an object of names and values")
    return value


def _folded(host: dict[str, Any]) -> bool:
    """Whether an earlier import folded mean and std."""
    before = host.get("preprocess", {})
    return "mean" in before and (before["mean"], before["std"]) != (list(RAW.mean), list(RAW.std))


def _prefix(inventory: Inventory, network: Network) -> Tensor:
    """``prefix_tokens``, or the same tokens one by one under timm's names."""
    if "prefix_tokens" in inventory:
        return inventory.take("prefix_tokens", (1, network.prefix_tokens, network.dim))
    parts = [inventory.take(name, (1, -1, network.dim)) for name in PREFIX if name in inventory]
    prefix = torch.cat([torch.zeros(1, 0, network.dim, dtype=torch.float64), *parts], 1)
    if prefix.shape[1] != network.prefix_tokens:
        raise ImportFailed(f"{', '.join(PREFIX)} are {prefix.shape[1]} tokens, the network says prefix_tokens "
                           f"{network.prefix_tokens}")
    return prefix


def _fold_scales(inventory: Inventory, tensors: dict[str, Tensor], depth: int) -> None:
    for name, block, last in ((f"blocks.{block}.{scale}", block, last)
                              for block in range(depth) for scale, last in _SCALES.items()):
        if name not in inventory:
            continue
        layer = f"blocks.{block}.{last}"
        if f"{layer}.weight" not in tensors or tensors[f"{layer}.weight"].ndim != 2:
            raise ImportFailed(f"{name}: LayerScale is folded into {last}, which this block has not as one matrix")
        bias = tensors[f"{layer}.bias"]
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = scale_outputs(
            tensors[f"{layer}.weight"], bias, inventory.take(name, bias.shape))
        inventory.report.say("folded", "LayerScale of each block into proj and fc2")


def _own_heads(inventory: Inventory, network: Network, host: dict[str, Any]) -> dict[str, DraftHead]:
    """Heads under ``heads.<name>.``, as the metadata describe them; else one linear layer per patch of a task."""
    described = host.get("heads", {})
    heads = {}
    for name in dict.fromkeys(full.split(".")[1] for full in inventory.names(f"{HEADS}*")):
        parts = {part: inventory.take(f"{HEADS}{name}.{part}") for part in
                 ("norm.weight", "norm.bias", "fc.weight", "fc.bias") if f"{HEADS}{name}.{part}" in inventory}
        about = described.get(name, {"pool": "patches", "norm": "tokens" if "norm.weight" in parts else "none",
                                     "task": name if name in network.tasks else None})
        classes = about.get("classes")
        heads[name] = DraftHead(about["pool"], about["norm"], parts.get("fc.weight"), parts.get("fc.bias"),
                                parts.get("norm.weight"), parts.get("norm.bias"), about.get("task"),
                                None if classes is None else tuple(classes))
    return heads
