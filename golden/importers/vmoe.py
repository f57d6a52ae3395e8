# SPDX-License-Identifier: Apache-2.0
"""V-MoE (google-research/vmoe) and plain ViT (google-research/vision_transformer) in flax: kernels (inputs, outputs).

Sources: vmoe/nn/vit_moe.py and vmoe/nn/routing.py; vit_jax/models_vit.py. A router's softmax is over all experts, and
the scores of the top k are used unchanged.
"""

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .blocks import depth_of
from .draft import Draft, DraftHead
from .errors import MissingTensor, Unsupported
from .facts import Facts, settle
from .family import Family
from .fold import join
from .inventory import Inventory
from .options import NORMALISATIONS, Options, Preprocess
from .positions import TIMM, find_grid
from .source import CheckpointSource

__all__ = ["VMoe"]

#: Defaults of flax's ``nn.gelu`` and ``nn.LayerNorm``.
_USUAL = Facts(activation="gelu_tanh", norm_eps=1e-6)
#: Of vmoe_b16_imagenet21k_randaug_strong and vmoe_s32_last2_ilsvrc2012_randaug_light1.
_PUBLISHED_EXPERTS, _PUBLISHED_TOP_K = 8, 2
_ENCODER = re.compile(r"(?P<front>(?:.*/)?)(?P<encoder>Encoder|Transformer)/encoderblock_0/.*")


@dataclass(frozen=True)
class _Names:
    """Names that differ between the two repositories. ``front`` stands before every name (``params/``)."""

    front: str
    encoder: str
    attention: str
    norm2: str
    dense: str

    def block(self, block: int, part: str) -> str:
        return f"{self.encoder}/encoderblock_{block}/{part}"


class VMoe(Family):
    """V-MoE-B/16 and its siblings, and the ViTs that they are based on."""

    name = "vmoe"
    title = "google-research V-MoE or ViT (flax)"
    keys = (r"(.*/)?(Encoder|Transformer)/encoderblock_0/.*/query/kernel", r"(.*/)?embedding/kernel")

    def convert(self, source: CheckpointSource, inventory: Inventory, options: Options) -> Draft:
        names = _names(inventory)
        inventory.drop("opt*", "the optimiser's state")
        if refused := inventory.names("*_ln/*") + inventory.names("*MapHead/*"):
            raise Unsupported(f"{refused[0]}: QK-norm and attention pooling are not supported")
        kernel = inventory.take(f"{names.front}embedding/kernel", (-1, -1, 3, -1)).permute(3, 2, 0, 1)
        if kernel.shape[2] != kernel.shape[3]:
            raise Unsupported(f"{names.front}embedding/kernel: the machine's patches are square")
        dim, patch = kernel.shape[0], kernel.shape[2]
        tensors = {"patch_embed.proj.weight": kernel,
                   "patch_embed.proj.bias": inventory.maybe(f"{names.front}embedding/bias", (dim,))}
        grid = _positions(inventory, names, tensors, patch, options)
        fields = _blocks(inventory, names, tensors, options) | {
            "patch": patch, "dim": dim, "prefix_tokens": tensors["prefix_tokens"].shape[1]}
        _norm(inventory, f"{names.encoder}/encoder_norm", dim, tensors, "norm")
        if options.normalise is None and options.mean is None:
            inventory.report.say("assumed", "pixels are in -1..1 (mean and std 0.5), as in published configurations")
        return Draft(fields, tensors, grid, options.preprocess(
            Preprocess(*NORMALISATIONS["half"]), inventory.missing, self.title), TIMM,
            _heads(inventory, names, fields, options))


def _names(inventory: Inventory) -> _Names:
    found = next((match for name in inventory.names() if (match := _ENCODER.fullmatch(name))), None)
    if found is None:
        raise MissingTensor("Encoder/encoderblock_0 is missing: every ViT in flax has it")
    encoder = found["front"] + found["encoder"]

    def pick(first: str, other: str) -> str:
        return other if inventory.names(f"{encoder}/encoderblock_*/{other}/*") else first

    return _Names(found["front"], encoder, pick("SelfAttention", "MultiHeadDotProductAttention_1"),
                  pick("LayerNorm_1", "LayerNorm_2"), pick("Mlp", "MlpBlock_3"))


def _positions(inventory: Inventory, names: _Names, tensors: dict[str, Tensor], patch: int,
               options: Options) -> tuple[int, int]:
    dim = tensors["patch_embed.proj.bias"].shape[0]
    name = next(iter(inventory.names("*posembed_input/pos_embedding")), f"{names.encoder}/posembed_input/pos_embedding")
    if name not in inventory:
        raise Unsupported(f"{name} is not there: positions that are computed (sincos2d) are not supported")
    tensors["pos_embed"] = inventory.take(name, (1, -1, dim))
    cls = f"{names.front}cls"
    tokens = 1 if cls in inventory else 0
    tensors["prefix_tokens"] = inventory.take(cls, (1, 1, dim)) if tokens else tensors["pos_embed"].new_zeros(1, 0, dim)
    return find_grid(name, tensors["pos_embed"].shape[1], [tokens], patch, options, inventory.missing)[0]


def _blocks(inventory: Inventory, names: _Names, tensors: dict[str, Tensor], options: Options) -> dict[str, Any]:
    """Put the tensors of every block into ``tensors``. Returns the fields of the network that they show."""
    depth = depth_of(inventory.names(), re.escape(names.encoder) + r"/encoderblock_(\d+)/")
    dim = tensors["patch_embed.proj.bias"].shape[0]
    moe = tuple(block for block in range(depth) if names.block(block, "Moe/Mlp/Dense_0/kernel") in inventory)
    for block in range(depth):
        _attention(inventory, names, block, dim, tensors)
        if block in moe:
            _experts(inventory, names, block, dim, tensors)
        else:
            for layer, part in enumerate(("fc1", "fc2")):
                _dense(inventory, names.block(block, f"{names.dense}/Dense_{layer}"), tensors,
                       f"blocks.{block}.mlp.{part}")
    heads = Facts(inventory.look(names.block(0, f"{names.attention}/query/kernel")).shape[1])
    dense = [block for block in range(depth) if block not in moe]
    experts = tensors[f"blocks.{moe[0]}.moe.experts.fc1.weight"].shape[:2] if moe else (0, 0)
    hidden = tensors[f"blocks.{dense[0]}.mlp.fc1.weight"].shape[0] if dense else experts[1]
    fields = {"depth": depth, "hidden": hidden,
              **settle(heads, _USUAL, options, inventory, "ViT in flax")}
    if not moe:
        return fields
    top_k = options.top_k
    if top_k is None and experts[0] == _PUBLISHED_EXPERTS:
        top_k = _PUBLISHED_TOP_K
        inventory.report.say("assumed", f"a token uses {top_k} of the {experts[0]} experts, as in published V-MoEs")
    if top_k is None:
        inventory.missing.add("--top-k", "a V-MoE file does not say how many experts a token uses (published ones "
                                         "use 2)")
    inventory.report.say("assumed", "V-MoE drops tokens that find an expert's buffer full (its capacity); "
                                    "here no token is dropped")
    return fields | {"experts": experts[0], "expert_hidden": experts[1], "top_k": top_k, "moe_blocks": moe,
                     "renormalise": False}


def _attention(inventory: Inventory, names: _Names, block: int, dim: int, tensors: dict[str, Tensor]) -> None:
    """Query, key and value kernels are (dim, heads, channels), the output kernel is (heads, channels, dim)."""
    ours = f"blocks.{block}"
    _norm(inventory, names.block(block, "LayerNorm_0"), dim, tensors, f"{ours}.norm1")
    _norm(inventory, names.block(block, names.norm2), dim, tensors, f"{ours}.norm2")
    weights, biases = [], []
    for part in ("query", "key", "value"):
        name = names.block(block, f"{names.attention}/{part}")
        kernel = inventory.take(f"{name}/kernel", (dim, -1, -1))
        if kernel[0].numel() != dim:
            raise Unsupported(f"{name}/kernel: {kernel.shape[1]} heads of {kernel.shape[2]} channels are not the "
                              f"{dim} channels of a token")
        weights.append(kernel.flatten(1).T)
        biases.append(inventory.maybe(f"{name}/bias", kernel.shape[1:]).flatten())
    tensors[f"{ours}.attn.qkv.weight"], tensors[f"{ours}.attn.qkv.bias"] = join(weights), join(biases)
    out = names.block(block, f"{names.attention}/out")
    tensors[f"{ours}.attn.proj.weight"] = inventory.take(f"{out}/kernel", (-1, -1, dim)).flatten(0, 1).T
    tensors[f"{ours}.attn.proj.bias"] = inventory.maybe(f"{out}/bias", (dim,))


def _experts(inventory: Inventory, names: _Names, block: int, dim: int, tensors: dict[str, Tensor]) -> None:
    for layer, part in enumerate(("fc1", "fc2")):
        _dense(inventory, names.block(block, f"Moe/Mlp/Dense_{layer}"), tensors, f"blocks.{block}.moe.experts.{part}")
    router = inventory.take(names.block(block, "Moe/Router/dense/kernel"), (dim, -1))
    tensors[f"blocks.{block}.moe.gate.weight"] = router.T[None]


def _dense(inventory: Inventory, name: str, tensors: dict[str, Tensor], ours: str) -> None:
    """A linear layer (inputs, outputs), or one per expert (experts, inputs, outputs)."""
    kernel = inventory.take(f"{name}/kernel")
    tensors[f"{ours}.weight"] = kernel.transpose(-2, -1)
    tensors[f"{ours}.bias"] = inventory.maybe(f"{name}/bias", (*kernel.shape[:-2], kernel.shape[-1]))


def _norm(inventory: Inventory, name: str, dim: int, tensors: dict[str, Tensor], ours: str) -> None:
    tensors[f"{ours}.weight"] = inventory.take(f"{name}/scale", (dim,))
    tensors[f"{ours}.bias"] = inventory.take(f"{name}/bias", (dim,))


def _heads(inventory: Inventory, names: _Names, fields: dict[str, Any], options: Options) -> dict[str, DraftHead]:
    kernel = f"{names.front}head/kernel"
    if inventory.names(f"{names.front}pre_logits/*"):
        inventory.drop(f"{names.front}pre_logits/*", "a layer with tanh in front of the head")
        inventory.drop(f"{names.front}head/*", "the head behind pre_logits")
    if kernel not in inventory:
        return {}
    pool = options.pool or "cls"
    if options.pool is None and not fields["prefix_tokens"]:
        inventory.missing.add("--pool", f"{kernel} reads one vector, and without a class token no name says which")
    weight = inventory.take(kernel, (fields["dim"], -1)).T
    bias = inventory.maybe(f"{names.front}head/bias", weight.shape[:1])
    return {"classifier": DraftHead(pool, "tokens", weight, bias)}
