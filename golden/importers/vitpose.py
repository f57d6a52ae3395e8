# SPDX-License-Identifier: Apache-2.0
"""ViTPose and ViTPose++ of transformers (``usyd-community/vitpose-plus-*``) and of ViTAE-Transformer/ViTPose (mmpose).

ViTPose++ has an expert per data set. The expert computes the last channels of every FFN, so it becomes part of one fc2
per task. The patch convolution pads the picture with two pixels. The position of an absent class token is added to
every patch.

Sources: transformers/models/vitpose_backbone/modeling_vitpose_backbone.py; mmpose/models/backbones/vit_moe.py.
"""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moevit.spec.networks import Network

from .blocks import BlockNames, attention, depth_of, embedding, ffn, linear, norm
from .draft import Draft
from .errors import BadTensor, NotProved
from .facts import Facts, settle, stated
from .family import Family, Original
from .inventory import Inventory
from .libraries import library
from .options import NORMALISATIONS, Options, Preprocess
from .positions import HUGGING_FACE, find_grid
from .source import CheckpointSource

__all__ = ["TASKS", "VitPose"]

#: The data sets of ViTPose++, in the order of its experts.
TASKS = ("coco", "aic", "mpii", "ap10k", "apt36k", "wholebody")
#: Pixels of padding around the picture in the patch convolution.
_PAD = 2
_TRANSFORMERS = BlockNames(
    norm1="encoder.layer.{}.layernorm_before", proj="encoder.layer.{}.attention.output.dense",
    qkv=("encoder.layer.{}.attention.attention.query", "encoder.layer.{}.attention.attention.key",
         "encoder.layer.{}.attention.attention.value"),
    norm2="encoder.layer.{}.layernorm_after", fc1="encoder.layer.{}.mlp.fc1", fc2="encoder.layer.{}.mlp.fc2")
_MMPOSE = BlockNames(norm1="blocks.{}.norm1", qkv="blocks.{}.attn.qkv", proj="blocks.{}.attn.proj",
                     norm2="blocks.{}.norm2", fc1="blocks.{}.mlp.fc1", fc2="blocks.{}.mlp.fc2")


_USUAL = Facts(activation="gelu", norm_eps=1e-6,
               preprocess=Preprocess(*NORMALISATIONS["imagenet"], interpolation="bilinear", pad=_PAD))


class VitPose(Family):
    """Pose networks: a ViT without class token. Its heatmap head runs elsewhere."""

    name = "vitpose"
    title = "ViTPose"
    keys = (r"embeddings\.position_embeddings|pos_embed",
            r"encoder\.layer\.0\.layernorm_before\.weight|last_norm\.weight")
    without = (r"(embeddings\.)?cls_token",)

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        mmpose = "last_norm.weight" in inventory
        names, layer = (_MMPOSE, r"blocks\.") if mmpose else (_TRANSFORMERS, r"encoder\.layer\.")
        facts = stated(replace(source, config=source.config.get("backbone_config", source.config)))
        inventory.drop("*head*", "convolutions of heatmaps run neither on the machine nor in the host's heads")
        tensors = embedding(inventory, "patch_embed.proj" if mmpose else "embeddings.patch_embeddings.projection",
                            options)
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        grid, tensors["pos_embed"] = _positions(
            inventory, "pos_embed" if mmpose else "embeddings.position_embeddings", dim, patch, facts, options)
        tensors["prefix_tokens"] = torch.zeros(1, 0, dim, dtype=torch.float64)
        depth = depth_of(inventory.names(), layer + r"(\d+)\.")
        hidden = inventory.look(f"{names.fc1.format(0)}.weight").shape[0]
        experts = len(_experts(inventory, names.fc2.format(0)))
        for block in range(depth):
            tensors |= attention(inventory, names, block, dim)
            tensors |= (_ffn_per_task(inventory, names, block, dim, experts) if experts else
                        ffn(inventory, names, block, dim, hidden))
        tensors["norm.weight"], tensors["norm.bias"] = norm(inventory, "last_norm" if mmpose else "layernorm", dim)
        fields = {"patch": patch, "dim": dim, "depth": depth, "hidden": hidden, "prefix_tokens": 0,
                  "task_fc2": experts > 0, **_tasks(inventory, experts, options),
                  **settle(facts, _USUAL, options, inventory, "ViTPose")}
        return Draft(fields, tensors, grid, _preprocess(facts, inventory, options), HUGGING_FACE)

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        config = source.config.get("backbone_config")
        if config is None:
            raise NotProved("without the config.json of transformers its model cannot be made")
        module = library("transformers.models.vitpose_backbone")
        made = module.VitPoseBackboneConfig(**config)
        if [network.height, network.width] != list(made.image_size):
            raise NotProved("transformers' ViTPose takes images of the trained size alone")
        made.out_features = [made.stage_names[-1]]
        model = module.VitPoseBackbone(made).eval()
        model.load_state_dict({name.replace(".experts.experts.", ".experts."): value
                               for name, value in source.tensors.items() if not name.startswith("head.")})
        return lambda images, task: model(images, dataset_index=torch.tensor([task])).feature_maps[-1]


def _positions(inventory: Inventory, name: str, dim: int, patch: int, facts: Facts,
               options: Options) -> tuple[tuple[int, int], Tensor]:
    """The grid, and the positions of the patches: each is its own plus that of the absent class token."""
    positions = inventory.take(name, (1, -1, dim))
    grid, _ = find_grid(name, positions.shape[1], [1], patch, options, inventory.missing, facts.image)
    inventory.report.say("folded", "the class token's position into that of every patch, as ViTPose adds it")
    return grid, positions[:, 1:] + positions[:, :1]


def _experts(inventory: Inventory, fc2: str) -> list[str]:
    """Names of the experts beside ``fc2``, without ``.weight``: ``experts.3``, or ``experts.experts.3``."""
    pattern = re.escape(fc2.removesuffix("fc2")) + r"(experts\.){1,2}\d+\.weight"
    found = [name.removesuffix(".weight") for name in inventory.tensors if re.fullmatch(pattern, name)]
    return sorted(found, key=lambda name: int(name.rpartition(".")[2]))


def _ffn_per_task(inventory: Inventory, names: BlockNames, block: int, dim: int, tasks: int) -> dict[str, Tensor]:
    """An FFN with one fc2 per task: the rows that all tasks share, then the rows of the task's expert."""
    fc2, experts = names.fc2.format(block), _experts(inventory, names.fc2.format(block))
    if len(experts) != tasks:
        raise BadTensor(f"{fc2} has {len(experts)} experts beside it, block 0 has {tasks}")
    weight, bias = linear(inventory, names.fc1.format(block), -1, dim)
    shared, shared_bias = linear(inventory, fc2, -1, weight.shape[0])
    rows = dim - shared.shape[0]
    own = [linear(inventory, name, rows, weight.shape[0]) for name in experts]
    inventory.report.say("folded", f"experts of {tasks} data sets into the last {rows} channels of one fc2 per task")
    return {f"blocks.{block}.mlp.{name}": value for name, value in (
        ("fc1.weight", weight), ("fc1.bias", bias),
        ("fc2.weight", torch.stack([torch.cat([shared, rows_weight]) for rows_weight, _ in own])),
        ("fc2.bias", torch.stack([torch.cat([shared_bias, rows_bias]) for _, rows_bias in own])))}


def _tasks(inventory: Inventory, experts: int, options: Options) -> dict[str, Any]:
    if not experts:
        return {}
    if options.tasks is None and experts == len(TASKS):
        inventory.report.say("assumed", f"the experts are of {', '.join(TASKS)}, in ViTPose++'s order")
        return {"tasks": TASKS}
    if options.tasks is None or len(options.tasks) != experts:
        inventory.missing.add("--tasks", f"each FFN has {experts} experts, whose data sets no tensor names")
    return {"tasks": options.tasks or ()}


def _preprocess(facts: Facts, inventory: Inventory, options: Options) -> Preprocess:
    if facts.preprocess is not None:
        return options.preprocess(replace(facts.preprocess, interpolation="bilinear", pad=_PAD), inventory.missing,
                                  "ViTPose")
    if options.mean is None and options.normalise is None:
        inventory.report.say("assumed", "pixels are normalised as ImageNet's, as ViTPose's processor does it")
    return options.preprocess(_USUAL.preprocess, inventory.missing, "ViTPose")
