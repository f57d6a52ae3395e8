# SPDX-License-Identifier: Apache-2.0
"""The parts of a network that instructions compute: a manifest says of each instruction which one it is."""

from enum import Enum

__all__ = ["Part"]


class Part(str, Enum):
    """What an instruction computes, in the order of a frame. The value is the manifest's ``part``."""

    IMAGE = "image"  #: pixels into the hidden memory
    POSITION = "position"  #: positions into the residual memory
    EMBED = "embed"  #: patches x patch embedding, added to the positions
    NORM1 = "norm1"  #: statistics of the LayerNorm before attention
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    LOGIT = "logit"  #: queries x keys of one head
    MIX = "mix"  #: softmax of the logits x values of one head
    PROJ = "proj"  #: all heads x projection, added to the residual
    NORM2 = "norm2"  #: statistics of the LayerNorm before the FFN
    FC1 = "fc1"  #: first layer of the dense FFN
    FC2 = "fc2"  #: its second layer, added to the residual
    TASK_FC2 = "task_fc2"  #: the same, with weights of the task
    SELECT_BIAS = "select_bias"  #: selection biases into the router
    GATE = "gate"  #: gate logits into the router
    SHARED_FC1 = "shared_fc1"  #: first layer of a MoE block's shared FFN
    SHARED_FC2 = "shared_fc2"
    EXPERTS = "experts"  #: the loop over experts
    EXPERT_FC1 = "expert_fc1"  #: first layer of one expert
    EXPERT_FC2 = "expert_fc2"
    OUTPUT = "output"  #: tokens to the host's memory
    END = "end"
