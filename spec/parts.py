# SPDX-License-Identifier: Apache-2.0
"""The parts of a network that instructions compute: a manifest says of each instruction which one it is."""

from enum import Enum

from .isa import Opcode

__all__ = ["EXPERT_PARTS", "OPCODES", "Part"]


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


#: The parts that one expert computes.
EXPERT_PARTS = (Part.EXPERT_FC1, Part.EXPERT_FC2)
#: The opcode of each part's instructions.
OPCODES: dict[Part, Opcode] = dict.fromkeys(Part, Opcode.PASS) | {
    Part.IMAGE: Opcode.IMAGE, Part.POSITION: Opcode.LOAD, Part.NORM1: Opcode.NORM, Part.NORM2: Opcode.NORM,
    Part.EXPERTS: Opcode.EXPERTS, Part.OUTPUT: Opcode.STORE, Part.END: Opcode.END,
}
