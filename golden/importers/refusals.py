# SPDX-License-Identifier: Apache-2.0
"""Refuses vision transformers with parts that the machine lacks, by the tensors that show these parts."""

import re
from collections.abc import Iterable

from .errors import Unsupported

__all__ = ["REFUSALS", "refuse"]

#: Pattern of a tensor's name -> why a network with such a tensor is refused.
REFUSALS = {
    r"(^|\.)patch_embed\.(backbone|stem|conv\d)|(^|\.)conv_stem\.": (
        "a convolutional stem before the patches (hybrid ViTs): the machine's patches are one linear layer"),
    r"relative_position_(bias_table|index)|rel_pos_(h|w|bias)|\.rel_pos\.": (
        "relative positions (Swin's windows, BEiT, SAM) add a bias to each attention logit, which the machine has not"),
    r"(\.|^)(q_norm|k_norm|query_norm|key_norm|q_layernorm|k_layernorm)\.": (
        "QK-norm is a norm of queries and keys per head, which the machine has not"),
    r"(^|\.)(rope|rope_embed|rotary_emb|rotary_pos_emb)(\.|$)|inv_freq$|freqs_cis$": (
        "rotary positions (RoPE) turn queries and keys in every block, which the machine does not"),
    r"\.mlp\.(w12|w1|w2|w3|fc1_g|fc1_x|weights_in|weights_out|gate_proj)\.": (
        "SwiGLU multiplies two halves of the hidden layer, which the machine does not"),
    r"(^|\.)(attn_pool|attentional_pooler)\.|vision_model\.head\.(probe|attention)": (
        "attention pooling is an attention of its own with a learned query; pass --leave-out 'attn_pool.*' to import "
        "the tokens without it"),
    r"(^|\.)(norm_pre|pre_layrnorm|pre_layernorm|ln_pre)\.": (
        "a LayerNorm between embedding and first block (CLIP): the machine starts with the block's own"),
    r"attention\.output\.LayerNorm|\.output\.LayerNorm\.|\.(post_attention_norm|post_mlp_norm)\.": (
        "post-norm blocks (a norm after the sum): the machine's are pre-norm"),
    r"(^|\.)blocks\.\d+\.(attns|ffns)\.|(^|\.)blocks\.\d+\.(in_proj|in_norm|mlp_out_proj)\b": (
        "parallel blocks add attention and FFN at once: the machine's follow each other"),
    r"(^|\.)layers\.\d+\.blocks\.\d+\.|(^|\.)stages\.\d+\.": (
        "several stages of other widths (Swin, ConvNeXt, hierarchical ViTs): the machine has one width"),
}


_ATTENTION = re.compile(r"(^|[./])(attn|attention|self_attention|MultiHeadDotProductAttention_\d+)[./]")
_POSITIONS = re.compile(r"pos_?emb|position_emb")


def refuse(names: Iterable[str]) -> None:
    """Raise Unsupported for the first name that shows a part which the machine lacks."""
    names = list(names)
    for pattern, why in REFUSALS.items():
        for name in names:
            if re.search(pattern, name):
                raise Unsupported(f"{name}: {why}")
    attention = next(filter(_ATTENTION.search, names), None)
    if attention and not any(map(_POSITIONS.search, names)):
        raise Unsupported(f"{attention}, but no embedding of positions: rotary positions (RoPE, DINOv3) or others that "
                          "enter the attention, which the machine does not have")
