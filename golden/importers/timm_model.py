# SPDX-License-Identifier: Apache-2.0
"""timm's own models: the facts that a model's name gives, and the model that proves an import."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from moevit.spec.networks import Network

from .errors import ImportFailed, NotProved
from .facts import Facts, stated, triple
from .family import Original
from .libraries import library, no_warnings
from .options import Options, Preprocess
from .report import Report
from .source import CheckpointSource

__all__ = ["known_model", "original"]

_HEADS = ("head.", "head_dist.", "fc_norm.", "attn_pool.", "pre_logits.", "decoder_", "mask_token")
_ACTIVATIONS = {"gelu": nn.GELU, "gelu_tanh": partial(nn.GELU, approximate="tanh"), "relu": nn.ReLU}


def known_model(source: CheckpointSource, options: Options, report: Report) -> Facts:
    """The facts that a model's name or a configuration gives.

    The name is ``--model``, or ``architecture`` in the config.json of a timm folder. Raises ImportFailed.
    """
    known = stated(source)
    config = source.config.get("pretrained_cfg") or {}
    name = options.model or source.config.get("architecture")
    if name:
        try:
            timm = library("timm")
        except NotProved as error:
            report.say("assumed", f"nothing of the name {name}: {error}")
        else:
            if not timm.is_model(name):
                raise ImportFailed(f"--model {name}: timm {timm.__version__} has no such model")
            with torch.device("meta"), no_warnings():
                model = timm.create_model(name, **_arguments(source.config))
            if not isinstance(model, timm.models.vision_transformer.VisionTransformer):
                raise ImportFailed(f"{name} is a {type(model).__name__} of timm, not a plain vision transformer")
            block = type(model.blocks[0]).__name__
            if block != "Block":
                raise ImportFailed(f"{name} has {block}s, the machine has pre-norm blocks (timm's Block)")
            first = model.blocks[0]
            known = replace(known, heads=first.attn.num_heads, activation=_activation(first.mlp.act),
                            norm_eps=first.norm1.eps)
            config = config or model.pretrained_cfg
            report.say("read", f"heads, activation and epsilon are those of timm's {name}")
    if config.get("mean"):
        height, crop = (config.get("input_size") or (3, 224, 224))[1], config.get("crop_pct") or 1.0
        how = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
        preprocess = Preprocess(triple(config["mean"]), triple(config["std"]), int(height / crop), how, crop=height)
        known = replace(known, preprocess=preprocess)
        report.say("read", f"mean and std of {name or 'config.json'}'s pretrained_cfg")
    return known


def original(tensors: Mapping[str, Tensor], network: Network, grid: tuple[int, int], placed: int) -> Original:
    """timm's VisionTransformer with ``tensors`` under timm's names.

    ``pos_embed`` is for ``grid`` and ``placed`` prefix tokens: all of them, or none. Raises NotProved.
    """
    vit = library("timm.models.vision_transformer")
    deit = library("timm.models.deit")
    if network.activation not in _ACTIVATIONS:
        raise NotProved(f"timm is not asked for {network.activation}")
    own = {name: value for name, value in tensors.items() if not name.startswith(_HEADS)}
    cls, registers = "cls_token" in own, own["reg_token"].shape[1] if "reg_token" in own else 0
    kind = deit.VisionTransformerDistilled if "dist_token" in own else vit.VisionTransformer
    size = grid[0] * network.patch, grid[1] * network.patch
    arguments = {
        "img_size": size, "patch_size": network.patch, "embed_dim": network.dim, "depth": network.depth,
        "num_heads": network.heads, "mlp_ratio": (network.hidden + 0.5) / network.dim,  # timm truncates the product
        "class_token": cls, "reg_tokens": registers, "no_embed_class": placed < network.prefix_tokens,
        "global_pool": "token" if cls else "avg", "fc_norm": False, "final_norm": "norm.weight" in own,
        "init_values": 1.0 if "blocks.0.ls1.gamma" in own else None, "qkv_bias": "blocks.0.attn.qkv.bias" in own,
        "act_layer": _ACTIVATIONS[network.activation], "norm_layer": partial(nn.LayerNorm, eps=network.norm_eps)}
    with torch.device("meta"), no_warnings():
        model = kind(num_classes=0, **arguments)
    try:
        model.load_state_dict(own, strict=True, assign=True)
    except RuntimeError as error:
        raise NotProved(f"timm's VisionTransformer does not take the tensors: {str(error).splitlines()[-1].strip()}"
                        ) from error
    model.set_input_size(img_size=(network.height, network.width))
    model.eval()
    return lambda images, _: model.forward_features(images)


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(config.get("model_args") or {})
    if "num_classes" in config:
        arguments["num_classes"] = config["num_classes"]
    return arguments


def _activation(module: nn.Module) -> str:
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    found = {"ReLU": "relu", "QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh"}.get(type(module).__name__)
    if found is None:
        raise ImportFailed(f"the activation {type(module).__name__} is none of the machine's")
    return found
