# SPDX-License-Identifier: Apache-2.0
"""Networks: the shape of each vision transformer that the machine is asked to run."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from dataclasses import fields as dataclass_fields
from typing import Any

__all__ = ["ACTIVATIONS", "ACTIVATION_ERROR", "GATES", "NETWORKS", "Network", "NetworkError"]


class NetworkError(ValueError):
    """A network whose sizes contradict each other, or that is larger than any machine could run.

    Fix: correct the field that the message names.
    """


#: Smallest and largest value of each size. No machine runs the largest ones: instructions have fewer bits for them.
_SIZES = {
    "height": (1, 9999), "width": (1, 9999), "patch": (1, 255), "dim": (1, 65535), "heads": (1, 65535),
    "depth": (1, 1024), "hidden": (1, 65535), "experts": (0, 256), "top_k": (0, 256), "expert_hidden": (0, 65535),
    "prefix_tokens": (0, 16), "shared_hidden": (0, 65535),
}
#: Activations of an FFN, each with the largest distance of the machine's results from it, over all inputs. The machine
#: has one table, for the exact GELU, and takes it for the approximations too.
ACTIVATION_ERROR = {"gelu": 0.0016, "gelu_tanh": 0.0016, "quick_gelu": 0.0214, "relu": 0.0}
ACTIVATIONS = tuple(ACTIVATION_ERROR)
#: How a gate's logit becomes the score of a chosen expert.
GATES = ("softmax", "sigmoid")
#: The side of a cell is a multiple of this many pixels.
_CELL = 8


@dataclass(frozen=True, kw_only=True)
class Network:
    """A multi-task Mixture-of-Experts ViT backbone, or a plain ViT when ``experts`` is 0.

    Blocks are pre-norm: ``x += attention(norm1(x))``, ``x += ffn(norm2(x))``. In the blocks ``moe_blocks`` the FFN is a
    gate and ``experts`` small FFNs, of which each token uses ``top_k`` (M3ViT, NeurIPS'22; V-MoE, NeurIPS'21). A task
    has its own gate weights and, with ``task_fc2``, its own last matrix of each dense FFN (ViTPose++, TPAMI'23).

    Parameters
    ----------
    height, width, patch : pixels
    dim : channels of a token
    heads : attention heads, each of ``dim // heads`` channels
    depth : blocks
    hidden : channels of the dense FFN's hidden layer
    experts, top_k, expert_hidden : per MoE block; all 0 without MoE
    moe_blocks : numbers of the MoE blocks, rising; with experts the odd ones if left out
    shared_hidden : channels of the hidden layer of an FFN that every token of a MoE block uses too; 0 for none
    tasks : one gate set per name; a plain ViT has the single task ``"tokens"``
    task_fc2 : the dense FFNs have an fc2 for each task
    prefix_tokens : tokens in front of the patches: CLS, distillation, registers
    final_norm : a LayerNorm follows the last block (DeiT); it runs with the head on the host
    gate : score of a chosen expert, one of ``GATES``
    renormalise : the scores of a token are divided by their sum: with a softmax, one over the top k only
    select_bias : a bias for each expert takes part in the choice of experts and not in their scores (DeepSeek-V3)
    activation : of the FFNs, one of ``ACTIVATIONS``
    """

    name: str
    height: int
    width: int
    patch: int
    dim: int
    heads: int
    depth: int
    hidden: int
    experts: int = 0
    top_k: int = 0
    expert_hidden: int = 0
    tasks: tuple[str, ...] = ("tokens",)
    prefix_tokens: int = 1
    final_norm: bool = False
    renormalise: bool = False
    moe_blocks: tuple[int, ...] | None = None
    shared_hidden: int = 0
    task_fc2: bool = False
    gate: str = "softmax"
    select_bias: bool = False
    activation: str = "gelu"
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise NetworkError(f"the name of a network must be text, not {self.name!r}")
        for field, (least, most) in _SIZES.items():
            value = getattr(self, field)
            if type(value) is not int or not least <= value <= most:  # True is an int
                raise NetworkError(f"{self.name}: {field} must be an integer of {least}..{most}, not {value!r}")
        for field in ("final_norm", "renormalise", "task_fc2", "select_bias"):
            if not isinstance(getattr(self, field), bool):
                raise NetworkError(f"{self.name}: {field} must be true or false, not {getattr(self, field)!r}")
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, int | float) or not 0 <= self.norm_eps < 1:
            raise NetworkError(f"{self.name}: norm_eps must be a number of 0 to less than 1, not {self.norm_eps!r}")
        if self.height % self.patch or self.width % self.patch:
            raise NetworkError(f"{self.name}: image {self.height}x{self.width} is not a multiple of patch {self.patch}")
        if self.dim % self.heads:
            raise NetworkError(f"{self.name}: dim {self.dim} is not a multiple of heads {self.heads}")
        for field, choices in (("activation", ACTIVATIONS), ("gate", GATES)):
            if getattr(self, field) not in choices:
                raise NetworkError(f"{self.name}: {field} must be one of {', '.join(choices)}, not "
                                   f"{getattr(self, field)!r}")
        if not all(isinstance(task, str) for task in self.tasks):
            raise NetworkError(f"{self.name}: tasks must be names, not {self.tasks!r}")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise NetworkError(f"{self.name}: tasks must be distinct and at least one, not {self.tasks!r}")
        if self.experts:
            if not 1 <= self.top_k <= self.experts:
                raise NetworkError(f"{self.name}: top_k must be in 1..{self.experts}, not {self.top_k!r}")
            if self.expert_hidden < 1:
                raise NetworkError(f"{self.name}: expert_hidden must be positive, not {self.expert_hidden!r}")
        else:
            for field in ("top_k", "expert_hidden", "shared_hidden", "select_bias"):
                if getattr(self, field):
                    raise NetworkError(f"{self.name}: {field} must be {type(getattr(self, field))()} without experts")
        self._check_moe_blocks()

    def _check_moe_blocks(self) -> None:
        blocks = self.moe_blocks
        if blocks is None:
            return
        if not isinstance(blocks, tuple) or not all(type(block) is int for block in blocks):
            raise NetworkError(f"{self.name}: moe_blocks must be numbers of blocks, not {blocks!r}")
        if list(blocks) != sorted(set(blocks)) or any(not 0 <= block < self.depth for block in blocks):
            raise NetworkError(f"{self.name}: moe_blocks must rise within 0..{self.depth - 1}, not {blocks!r}")
        if bool(blocks) != bool(self.experts):
            raise NetworkError(f"{self.name}: {self.experts} experts in {len(blocks)} blocks: name both or neither")

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Network":
        """The network of ``fields`` as JSON has them, with lists for tuples. Raises NetworkError."""
        if not isinstance(fields, Mapping):
            raise NetworkError(f"a network is an object with fields, not {type(fields).__name__}")
        names = {field.name for field in dataclass_fields(cls)}
        unknown = sorted(set(fields) - names)
        if unknown:
            raise NetworkError(f"a network has no {', '.join(unknown)}")
        missing = sorted(field.name for field in dataclass_fields(cls)
                         if field.default is MISSING and field.name not in fields)
        if missing:
            raise NetworkError(f"a network lacks {', '.join(missing)}")
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                  for name, value in fields.items()}
        return cls(**values)

    def for_image(self, height: int, width: int) -> "Network":
        """The same network for images of another size in pixels, with as many tokens as they need.

        Raises NetworkError.
        """
        return replace(self, name=f"{self.name}_{height}x{width}", height=height, width=width)

    @property
    def patches(self) -> int:
        """Of an image."""
        return (self.height // self.patch) * (self.width // self.patch)

    @property
    def tokens(self) -> int:
        """Patches and prefix tokens."""
        return self.patches + self.prefix_tokens

    @property
    def patch_values(self) -> int:
        """Values of a flattened patch, in the order of the image: row, column, channel."""
        return 3 * self.patch * self.patch

    @property
    def cell(self) -> int:
        """Side in pixels of the cell in which a patch lies in memory (`spec.cells`)."""
        return -(-self.patch // _CELL) * _CELL

    @property
    def cell_values(self) -> int:
        """Values of a flattened cell."""
        return 3 * self.cell * self.cell

    @property
    def head_dim(self) -> int:
        """Channels of an attention head."""
        return self.dim // self.heads

    def is_moe(self, block: int) -> bool:
        """Whether ``block`` has experts instead of a dense FFN."""
        if self.moe_blocks is None:
            return self.experts > 0 and block % 2 == 1
        return block in self.moe_blocks


_M3VIT: dict[str, Any] = {"height": 128, "width": 256, "patch": 16, "depth": 12, "experts": 16,
                          "tasks": ("semseg", "depth")}
_DEIT: dict[str, Any] = {"height": 224, "width": 224, "patch": 16, "depth": 12, "final_norm": True}

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(name="tiny_test", height=16, width=32, patch=8, dim=32, heads=2, depth=2, hidden=64,
                experts=4, top_k=2, expert_hidden=32, tasks=("semseg", "depth")),
        Network(name="demo", height=64, width=128, patch=8, dim=64, heads=2, depth=4, hidden=256,
                experts=8, top_k=2, expert_hidden=128, tasks=("semseg", "depth")),
        Network(name="m3vit_tiny", dim=192, heads=3, hidden=768, top_k=2, expert_hidden=384, **_M3VIT),
        Network(name="m3vit_small", dim=384, heads=12, hidden=1536, top_k=4, expert_hidden=384, **_M3VIT),
        Network(name="deit_tiny", dim=192, heads=3, hidden=768, **_DEIT),
        Network(name="deit_small", dim=384, heads=6, hidden=1536, **_DEIT),
    )
}
