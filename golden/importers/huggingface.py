# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's ViT, DeiT, DINOv2 and DINOv2 with registers: files of transformers 4 and 5, in both naming schemes."""

import re
from typing import Any

import torch
from torch import Tensor

from moevit.spec.networks import Network

from .blocks import BlockNames, attention, depth_of, embedding, ffn, linear, norm
from .draft import Draft, DraftHead, inputs_of
from .errors import MissingTensor, NotProved, UnknownFamily
from .facts import Facts, settle, stated
from .family import Family, Original
from .huggingface_model import original
from .inventory import Inventory
from .options import Options
from .positions import HUGGING_FACE, HUGGING_FACE_REGISTERS, find_grid
from .source import CheckpointSource

__all__ = ["HuggingFace"]

#: model_type in config.json -> facts that its documentation fixes.
_USUAL = {"vit": Facts(activation="gelu", norm_eps=1e-12), "deit": Facts(activation="gelu", norm_eps=1e-12),
          "vit_msn": Facts(activation="gelu", norm_eps=1e-6), "dinov2": Facts(activation="gelu", norm_eps=1e-6),
          "dinov2_with_registers": Facts(activation="gelu", norm_eps=1e-6)}
_PATCHES = "embeddings.patch_embeddings.projection.weight"


class HuggingFace(Family):
    """github.com/huggingface/transformers, ``models/{vit,deit,dinov2,dinov2_with_registers}``."""

    name = "huggingface"
    title = "Hugging Face's ViT"
    keys = (rf"(.*\.)?{re.escape(_PATCHES)}", r"(.*\.)?embeddings\.position_embeddings",
            r"(.*\.)?embeddings\.cls_token")
    without = (r".*detection_tokens", r".*experts\..*", r".*decoder_pos_embed")

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        root = _root(source)
        kind = _kind(source, root)
        facts = stated(source)
        tensors = embedding(inventory, root + _PATCHES.removesuffix(".weight"), options)
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        names, layers = _names(source, root)
        hidden = inventory.look(f"{names.fc1.format(0)}.weight").shape[0]
        depth = depth_of(source.tensors, layers)
        for block in range(depth):
            tensors |= attention(inventory, names, block, dim) | ffn(inventory, names, block, dim, hidden)
        places, grid = _tokens(inventory, root, dim, patch, facts, options)
        if f"{root}layernorm.weight" in inventory:
            tensors["norm.weight"], tensors["norm.bias"] = norm(inventory, f"{root}layernorm", dim)
        inventory.drop(f"{root}pooler.*", "the pooler (a linear layer and tanh) feeds no classifier")
        fields = {"patch": patch, "dim": dim, "depth": depth, "hidden": hidden,
                  "prefix_tokens": places["prefix_tokens"].shape[1],
                  **settle(facts, _USUAL[kind], options, inventory, f"Hugging Face {kind}")}
        preprocess = options.preprocess(facts.preprocess, inventory.missing,
                                        f"{source.path.name} (no preprocessor_config.json)")
        how = HUGGING_FACE_REGISTERS if kind == "dinov2_with_registers" else HUGGING_FACE
        return Draft(fields, tensors | places, grid, preprocess, how, _heads(inventory, source, fields, options))

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        if "model_type" not in source.config:
            raise NotProved("without config.json nobody says which model of transformers it is")
        return original(source, network, _root(source))


def _root(source: CheckpointSource) -> str:
    """The prefix of the backbone's names: ``vit.``, ``deit.``, ``dinov2.`` or nothing."""
    found = next((name for name in source.tensors if name.endswith(_PATCHES)), None)
    if found is None:
        raise MissingTensor(f"{_PATCHES} is missing: every ViT of Hugging Face has it")
    return found.removesuffix(_PATCHES)


def _kind(source: CheckpointSource, root: str) -> str:
    """The model_type in config.json, or the one that the tensors show. Raises UnknownFamily for an unknown one."""
    kind = source.config.get("model_type")
    if kind in _USUAL:
        return kind
    if kind is not None:
        raise UnknownFamily(f"config.json says model_type {kind}, the importer knows {', '.join(_USUAL)}")
    if f"{root}embeddings.register_tokens" in source.tensors:
        return "dinov2_with_registers"
    if any(name.endswith("layer_scale1.lambda1") for name in source.tensors):
        return "dinov2"
    return "deit" if f"{root}embeddings.distillation_token" in source.tensors else "vit"


def _names(source: CheckpointSource, root: str) -> tuple[BlockNames, str]:
    """The names of the blocks' parts, and a pattern whose group is the block's number."""
    stems = [front + stem for front in dict.fromkeys((root, "")) for stem in ("encoder.layer.{}.", "layers.{}.")]
    stem = next((stem for stem in stems if any(name.startswith(stem.format(0)) for name in source.tensors)), stems[0])

    def pick(*choices: str) -> str:
        there = (stem + choice for choice in choices if f"{stem.format(0)}{choice}.weight" in source.tensors)
        return next(there, stem + choices[0])

    query, key, value = (pick(f"attention.attention.{old}", f"attention.{new}_proj")
                         for old, new in (("query", "q"), ("key", "k"), ("value", "v")))
    return BlockNames(
        norm1=pick("layernorm_before", "norm1"), qkv=(query, key, value),
        proj=pick("attention.output.dense", "attention.o_proj"), norm2=pick("layernorm_after", "norm2"),
        fc1=pick("intermediate.dense", "mlp.fc1"), fc2=pick("output.dense", "mlp.fc2"),
        scale1=f"{stem}layer_scale1.lambda1", scale2=f"{stem}layer_scale2.lambda1",
    ), re.escape(stem).replace(r"\{\}", r"(\d+)")


def _tokens(inventory: Inventory, root: str, dim: int, patch: int, facts: Facts, options: Options,
            ) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """``prefix_tokens`` (CLS, distillation, registers) and ``pos_embed``. Registers have no position."""
    names = [f"{root}embeddings.{name}" for name in ("cls_token", "distillation_token", "register_tokens")]
    parts = [inventory.take(name, (1, -1, dim)) for name in names if name in inventory]
    prefix = torch.cat(parts, 1)
    registers = parts[-1].shape[1] if names[-1] in inventory.tensors else 0
    name = f"{root}embeddings.position_embeddings"
    positions = inventory.take(name, (1, -1, dim))
    grid, placed = find_grid(name, positions.shape[1], (prefix.shape[1] - registers,), patch, options,
                             inventory.missing, facts.image)
    nothing = torch.zeros(1, registers, dim, dtype=torch.float64)
    return {"prefix_tokens": prefix,
            "pos_embed": torch.cat([positions[:, :placed], nothing, positions[:, placed:]], 1)}, grid


def _heads(inventory: Inventory, source: CheckpointSource, fields: dict[str, Any],
           options: Options) -> dict[str, DraftHead]:
    dim, prefix_tokens = fields["dim"], fields["prefix_tokens"]
    labels = _labels(source.config)
    if "cls_classifier.weight" in inventory:  # DeiTForImageClassificationWithTeacher averages two classifiers
        first = linear(inventory, "cls_classifier", -1, dim)
        second = linear(inventory, "distillation_classifier", first[0].shape[0], dim)
        inventory.report.say("folded", "both classifiers of DeiT into one, which is their average")
        return {"classifier": DraftHead("prefix", "tokens", torch.cat([first[0], second[0]], 1) / 2,
                                        (first[1] + second[1]) / 2, classes=labels)}
    if "classifier.weight" not in inventory:
        return {}
    both = inventory.look("classifier.weight").shape[-1] == 2 * dim
    pool = options.pool or ("cls_mean" if both else "cls")
    layer = linear(inventory, "classifier", -1, inputs_of(pool, dim, prefix_tokens))
    return {"classifier": DraftHead(pool, "tokens", *layer, classes=labels)}


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes; None if they are the placeholders LABEL_0, LABEL_1, ..."""
    labels = config.get("id2label")
    if not isinstance(labels, dict) or not labels:
        return None
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(names)) else names
