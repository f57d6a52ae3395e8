# SPDX-License-Identifier: Apache-2.0
"""DINOv2 as published by its authors (``dinov2_vits14_pretrain.pth``), with or without registers.

Its names are almost timm's. CLS and patches have positions, registers have none.
"""

import torch
from torch import Tensor

from moevit.spec.networks import Network

from .blocks import attention, depth_of, embedding, ffn, norm
from .draft import Draft
from .errors import NotProved
from .facts import Facts, settle, stated
from .family import Family, Original
from .inventory import Inventory
from .missing import Missing
from .options import NORMALISATIONS, Options, Preprocess
from .positions import DINOV2, DINOV2_REGISTERS, find_grid
from .source import CheckpointSource
from .timm import NAMES, prefix_and_positions
from .timm_model import original

__all__ = ["Dinov2"]

_HEAD = 64  # channels of a head in every published size (dinov2/models/vision_transformer.py)
_PREFIX = ("cls_token", "register_tokens")


class Dinov2(Family):
    """github.com/facebookresearch/dinov2, sizes S, B and L. The giant has SwiGLU and is refused."""

    name = "dinov2"
    title = "DINOv2"
    keys = ("mask_token", "cls_token", "pos_embed", r"blocks\.0\.attn\.qkv\.weight", r"blocks\.0\.ls1\.gamma")
    without = ("reg_token",)

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        facts = stated(source)
        tensors = embedding(inventory, "patch_embed.proj", options)
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        places, grid = prefix_and_positions(inventory, _PREFIX, dim, patch, options, facts.image, placed=1)
        hidden = inventory.look("blocks.0.mlp.fc1.weight").shape[0]
        depth = depth_of(source.tensors, r"blocks\.(\d+)\.")
        for block in range(depth):
            tensors |= attention(inventory, NAMES, block, dim) | ffn(inventory, NAMES, block, dim, hidden)
        tensors["norm.weight"], tensors["norm.bias"] = norm(inventory, "norm", dim)
        for pattern in ("dino_head.*", "ibot_head.*"):
            inventory.drop(pattern, "a head of training")
        usual = Facts(dim // _HEAD if dim % _HEAD == 0 else None, "gelu", 1e-6)
        fields = {"patch": patch, "dim": dim, "depth": depth, "hidden": hidden,
                  "prefix_tokens": places["prefix_tokens"].shape[1],
                  **settle(facts, usual, options, inventory, "DINOv2 of facebookresearch")}
        known = facts.preprocess or Preprocess(*NORMALISATIONS["imagenet"])
        if not facts.preprocess and options.normalise is None and options.mean is None:
            inventory.report.say("assumed", "pixels are normalised with ImageNet's mean and std, as in every DINOv2")
        how = DINOV2_REGISTERS if "register_tokens" in source.tensors else DINOV2
        return Draft(fields, tensors | places, grid, options.preprocess(known, inventory.missing, "DINOv2"), how)

    def original(self, source: CheckpointSource, network: Network, options: Options) -> Original:
        """timm's model of DINOv2, because the authors' own is not a package."""
        tensors = as_timm(source.tensors)
        grid, _ = find_grid("pos_embed", tensors["pos_embed"].shape[1], (0,), network.patch, options,
                            Missing(), stated(source).image)
        if (network.height // network.patch, network.width // network.patch) != grid:
            raise NotProved("timm, which stands in for the authors' model, resamples positions in another way: "
                            "import at the trained image size for a proof")
        return original(tensors, network, grid, placed=0)


def as_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in the form of timm's DINOv2, where the position of CLS is added to CLS."""
    found = {name: value for name, value in tensors.items()
             if name != "mask_token" and not name.startswith(("dino_head.", "ibot_head."))}
    if "register_tokens" in found:
        found["reg_token"] = found.pop("register_tokens")
    positions: Tensor = found["pos_embed"]
    found["cls_token"] = found["cls_token"] + positions[:, :1]
    return {**found, "pos_embed": torch.clone(positions[:, 1:])}
