# SPDX-License-Identifier: Apache-2.0
"""torchvision's ``vit_b_16`` and its siblings."""

import torch

from moevit.spec.networks import Network

from .blocks import BlockNames, attention, depth_of, embedding, ffn, linear, norm
from .draft import Draft, DraftHead, inputs_of
from .errors import NotProved
from .facts import Facts, settle, stated
from .family import Family, Original
from .inventory import Inventory
from .libraries import library
from .options import NORMALISATIONS, Options, Preprocess
from .positions import TORCHVISION, find_grid
from .source import CheckpointSource

__all__ = ["Torchvision"]

_LAYER = "encoder.layers.encoder_layer_{}."
#: (dim, depth) -> heads of the published sizes: vit_b_*, vit_l_*, vit_h_14.
_HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 32): 16}
#: Published weights (vit_b_16 and others): ImageNet's normalisation, bilinear, a centre of 224 of 256 pixels.
_PREPROCESS = Preprocess(*NORMALISATIONS["imagenet"], 256, "bilinear", crop=224)


class Torchvision(Family):
    """github.com/pytorch/vision, ``torchvision/models/vision_transformer.py``."""

    name = "torchvision"
    title = "torchvision"
    keys = ("conv_proj.weight", "class_token", r"encoder\.pos_embedding",
            r"encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight")

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        facts = stated(source)
        tensors = embedding(inventory, "conv_proj", options)
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        names = _names(source)
        hidden = inventory.look(f"{names.fc1.format(0)}.weight").shape[0]
        depth = depth_of(source.tensors, r"encoder\.layers\.encoder_layer_(\d+)\.")
        for block in range(depth):
            tensors |= attention(inventory, names, block, dim) | ffn(inventory, names, block, dim, hidden)
        tensors["norm.weight"], tensors["norm.bias"] = norm(inventory, "encoder.ln", dim)
        tensors["prefix_tokens"] = inventory.take("class_token", (1, 1, dim))
        name = "encoder.pos_embedding"
        tensors["pos_embed"] = inventory.take(name, (1, -1, dim))
        grid, _ = find_grid(name, tensors["pos_embed"].shape[1], (1,), patch, options, inventory.missing,
                            facts.image)
        fields = {"patch": patch, "dim": dim, "depth": depth, "hidden": hidden, "prefix_tokens": 1,
                  **settle(facts, Facts(_HEADS.get((dim, depth)), "gelu", 1e-6), options, inventory,
                           "vit of torchvision")}
        if options.normalise is None and options.mean is None and not facts.preprocess:
            inventory.report.say("assumed", "pixels are normalised with ImageNet's mean and std, as in every published "
                                            "vit of torchvision")
        preprocess = options.preprocess(facts.preprocess or _PREPROCESS, inventory.missing, "torchvision")
        return Draft(fields, tensors, grid, preprocess, TORCHVISION, _heads(inventory, dim, options))

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        vision = library("torchvision.models.vision_transformer")
        if network.height != network.width:
            raise NotProved("torchvision's images are square")
        if network.activation != "gelu" or network.norm_eps != 1e-6:
            raise NotProved("torchvision's blocks have the exact GELU and epsilon 1e-6")
        model = vision.VisionTransformer(network.height, network.patch, network.depth, network.heads, network.dim,
                                         network.hidden, num_classes=1)
        state = vision.interpolate_embeddings(network.height, network.patch, dict(source.tensors))
        result = model.load_state_dict({name: value for name, value in state.items() if not name.startswith("heads.")},
                                       strict=False)
        if result.unexpected_keys or any(not name.startswith("heads.") for name in result.missing_keys):
            raise NotProved("torchvision's VisionTransformer does not take the tensors")
        model.eval()

        def tokens(images: torch.Tensor, _: int) -> torch.Tensor:
            patches = model._process_input(images)
            return model.encoder(torch.cat([model.class_token.expand(len(images), -1, -1), patches], 1))

        return tokens


def _names(source: CheckpointSource) -> BlockNames:
    """The names of a block's parts. Those of the FFN changed in torchvision 0.13."""
    old = f"{_LAYER.format(0)}mlp.linear_1.weight" in source.tensors
    return BlockNames(norm1=f"{_LAYER}ln_1", qkv=f"{_LAYER}self_attention.in_proj_", norm2=f"{_LAYER}ln_2",
                      proj=f"{_LAYER}self_attention.out_proj", fc1=f"{_LAYER}mlp.{'linear_1' if old else '0'}",
                      fc2=f"{_LAYER}mlp.{'linear_2' if old else '3'}")


def _heads(inventory: Inventory, dim: int, options: Options) -> dict[str, DraftHead]:
    if "heads.pre_logits.weight" in inventory:
        inventory.drop("heads.*", "a classifier with a hidden layer (pre_logits and tanh), which the host has not")
    if "heads.head.weight" not in inventory:
        return {}
    pool = options.pool or "cls"
    return {"classifier": DraftHead(pool, "tokens", *linear(inventory, "heads.head", -1, inputs_of(pool, dim, 1)))}
