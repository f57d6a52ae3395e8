# SPDX-License-Identifier: Apache-2.0
"""timm's ``vit_*`` and ``deit*``: with LayerScale, registers, distillation, with or without class token, fc_norm."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moevit.spec.networks import Network

from .blocks import BlockNames, attention, depth_of, embedding, ffn, linear, norm
from .draft import Draft, DraftHead, inputs_of
from .errors import ImportFailed
from .facts import Facts, settle, stated
from .family import Family, Original
from .inventory import Inventory
from .missing import Missing
from .options import Options
from .positions import TIMM, find_grid
from .source import CheckpointSource
from .timm_model import known_model, original

__all__ = ["NAMES", "PREFIX", "Timm", "classifier", "prefix_and_positions"]

NAMES = BlockNames(norm1="blocks.{}.norm1", qkv="blocks.{}.attn.qkv", proj="blocks.{}.attn.proj",
                   norm2="blocks.{}.norm2", fc1="blocks.{}.mlp.fc1", fc2="blocks.{}.mlp.fc2",
                   scale1="blocks.{}.ls1.gamma", scale2="blocks.{}.ls2.gamma")
#: Common to timm's vit_* and deit*. The number of heads follows no rule.
_USUAL = Facts(activation="gelu", norm_eps=1e-6)
#: Prefix tokens in their order.
PREFIX = ("cls_token", "dist_token", "reg_token")


class Timm(Family):
    """Vision transformers of timm 0.4 to 1.0 (Wightman, github.com/huggingface/pytorch-image-models)."""

    name = "timm"
    title = "timm"
    keys = ("patch_embed.proj.weight", "pos_embed", r"blocks\.0\.attn\.qkv\.weight", r"blocks\.0\.mlp\.fc1\.weight")
    without = ("register_tokens", r"blocks\.\d+\..*experts?\..*", r"blocks\.\d+\..*gate\..*",
               r"last_norm\..*")

    def tells(self, source: CheckpointSource) -> bool:
        """As in `Family`, but not for DINOv2's authors, whose names differ only by a mask token."""
        return super().tells(source) and not {"mask_token", "blocks.0.ls1.gamma"} <= source.tensors.keys()

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        known = known_model(source, options, inventory.report)
        tensors = embedding(inventory, "patch_embed.proj", options)
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        places, grid = prefix_and_positions(inventory, PREFIX, dim, patch, options, known.image)
        hidden = inventory.look("blocks.0.mlp.fc1.weight").shape[0]
        depth = depth_of(source.tensors, r"blocks\.(\d+)\.")
        names = _names(source, inventory, options)
        for block in range(depth):
            tensors |= attention(inventory, names, block, dim) | ffn(inventory, names, block, dim, hidden)
        if "norm.weight" in inventory:
            tensors["norm.weight"], tensors["norm.bias"] = norm(inventory, "norm", dim)
        fields = {"patch": patch, "dim": dim, "depth": depth, "hidden": hidden,
                  "prefix_tokens": places["prefix_tokens"].shape[1],
                  **settle(known, _USUAL, options, inventory, "vit of timm")}
        inventory.drop("decoder_*", "the decoder of a masked autoencoder, for training")
        preprocess = options.preprocess(known.preprocess, inventory.missing, source.path.name)
        return Draft(fields, tensors | places, grid, preprocess, TIMM,
                     classifier(inventory, fields, "norm.weight" in tensors, options))

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        rows = source.tensors["pos_embed"].shape[1]
        grid, placed = find_grid("pos_embed", rows, (0, network.prefix_tokens), network.patch, options,
                                 Missing(), stated(source).image)
        return original(_renamed(source.tensors), network, grid, placed)


def _names(source: CheckpointSource, inventory: Inventory, options: Options) -> BlockNames:
    """The names of the blocks' parts. LayerScale has another name in DeiT-III's files and in networks with rotary
    positions. If the file does not tell which of the two it is, an option is missing.
    """
    if "blocks.0.gamma_1" not in source.tensors:
        return NAMES
    if options.model is None and "architecture" not in source.config:
        inventory.missing.add("--model", "blocks.0.gamma_1 is LayerScale of DeiT-III, or of a network with rotary "
                                         "positions (EVA, DINOv3), and no tensor says which")
    return replace(NAMES, scale1="blocks.{}.gamma_1", scale2="blocks.{}.gamma_2")


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with timm's current names in place of older ones."""
    ends = {".gamma_1": ".ls1.gamma", ".gamma_2": ".ls2.gamma"}
    return {name[: -len(end)] + ends[end] if (end := name[-len(".gamma_1"):]) in ends else name: value
            for name, value in tensors.items()}


def prefix_and_positions(inventory: Inventory, names: tuple[str, ...], dim: int, patch: int, options: Options,
                         trained: tuple[int, int] | None, placed: int | None = None,
                         ) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """``prefix_tokens``, ``pos_embed`` with zeros for prefix tokens without position, and the grid.

    The first ``placed`` prefix tokens have a position. With None, all or none have one; the number of rows decides.
    """
    parts = [inventory.take(name, (1, -1, dim)) for name in names if name in inventory]
    prefix = torch.cat([torch.zeros(1, 0, dim, dtype=torch.float64), *parts], 1)
    count = prefix.shape[1]
    positions = inventory.take("pos_embed", (1, -1, dim))
    prefixes = sorted({0, count}) if placed is None else [placed]
    grid, placed = find_grid("pos_embed", positions.shape[1], prefixes, patch, options, inventory.missing, trained)
    unplaced = torch.zeros(1, count - placed, dim, dtype=torch.float64)
    if count > placed:
        inventory.report.say("mapped", f"{count - placed} of {count} prefix tokens have no position")
    return {"prefix_tokens": prefix,
            "pos_embed": torch.cat([positions[:, :placed], unplaced, positions[:, placed:]], 1)}, grid


def classifier(inventory: Inventory, fields: dict[str, Any], final_norm: bool,
               options: Options) -> dict[str, DraftHead]:
    """The head ``classifier``, made of ``head``, ``head_dist`` and ``fc_norm``; empty if there is none."""
    if inventory.names("pre_logits.*"):
        for pattern in ("pre_logits.*", "head.*", "head_dist.*"):
            inventory.drop(pattern, "a classifier with a hidden layer (pre_logits and tanh), which the host has not")
    if "head.weight" not in inventory:
        return {}
    dim, prefix = fields["dim"], fields["prefix_tokens"]
    per_patch = inventory.look("head.weight").ndim == 4
    has_cls = "cls_token" in inventory.tensors or "prefix_tokens" in inventory.tensors
    distilled = "head_dist.weight" in inventory
    pooled = "fc_norm.weight" in inventory
    pool = "patches" if per_patch else "prefix" if distilled else "cls" if has_cls and not pooled else "mean"
    if options.pool is not None:
        pool = options.pool
    elif pool == "cls":
        inventory.report.say("assumed", "the classifier reads CLS (timm's global_pool 'token'); --pool says otherwise")
    weight, bias = linear(inventory, "head", -1, dim if distilled else inputs_of(pool, dim, prefix))
    if distilled:
        if prefix != 2 or pool != "prefix":
            raise ImportFailed(f"head_dist.weight needs CLS and a distillation token, there are {prefix} prefix tokens")
        second, offset = linear(inventory, "head_dist", weight.shape[0], dim)
        weight, bias = torch.cat([weight, second], 1) / 2, (bias + offset) / 2
        inventory.report.say("folded", "both classifiers of DeiT into one, which is their average")
    if pooled:
        return {"classifier": DraftHead(pool, "pooled", weight, bias, *norm(inventory, "fc_norm", dim))}
    return {"classifier": DraftHead(pool, "tokens" if final_norm else "none", weight, bias)}
