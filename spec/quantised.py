# SPDX-License-Identifier: Apache-2.0
"""The quantised model: every integer that the machine needs of a network, and the file that holds them.

The file is a ``.npz`` with one array per name of `tensor_shapes`, and ``meta`` (JSON: network, fractions, version). The
integers are complete: the integer golden model and the compiler add nothing to them.

``column_scale`` (u16) and the ``shift`` of a pass store a real multiplier: an output is
``accumulator x row scale x column_scale / 2^shift`` (``golden.integer.row_writer``). Channels keep the network's order.
Image patches are flattened as (row, column, channel). The machine has its own numbers for experts, which the tensors of
gates and experts follow: ``moe.order`` has the checkpoint's number of each. The first ``moe.speculate`` experts may be
fetched before the routing of a frame is known.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moevit.kit.npz import read_npz, write_npz

from .networks import Network

__all__ = ["QuantisedModel", "QuantisedModelError", "tensor_shapes"]

FORMAT_VERSION = 3
HEADS = "heads."


class QuantisedModelError(ValueError):
    """A quantised model that is incomplete, of the wrong shape, or out of range.

    Fix: quantise the checkpoint again with the installed version.
    """


def tensor_shapes(network: Network) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every tensor of a quantised ``network``."""
    tensors: dict[str, tuple[tuple[int, ...], str]] = {}

    def linear(name: str, outputs: int, inputs: int, *batch: int) -> None:
        tensors[f"{name}.weight"] = ((*batch, outputs, inputs), "int8")
        tensors[f"{name}.column_scale"] = ((*batch, outputs), "uint16")
        tensors[f"{name}.bias"] = ((*batch, outputs), "int16")
        tensors[f"{name}.shift"] = ((), "uint8")

    dim, tasks, experts = network.dim, len(network.tasks), network.experts
    linear("patch_embed", dim, network.patch_values)
    tensors["position"] = ((network.tokens, dim), "int16")  # CLS and the patch embedding's bias are added in
    for block in range(network.depth):
        name = f"blocks.{block}"
        for norm in ("norm1", "norm2"):
            tensors[f"{name}.{norm}.gain"] = ((dim,), "int16")
            tensors[f"{name}.{norm}.epsilon"] = ((), "uint32")
        for projection in ("query", "key", "value", "proj"):
            linear(f"{name}.attn.{projection}", dim, dim)
        for product in ("logit", "mix"):  # queries x keys, exponentials x values
            tensors[f"{name}.attn.{product}.scale"] = ((), "uint16")
            tensors[f"{name}.attn.{product}.shift"] = ((), "uint8")
        if network.is_moe(block):
            tensors[f"{name}.moe.gate.weight"] = ((tasks, experts, dim), "int16")  # 15 bits: see golden.quant
            tensors[f"{name}.moe.gate.column_scale"] = ((tasks, experts), "uint16")
            tensors[f"{name}.moe.gate.bias"] = ((tasks, experts), "int16")  # -32768 masks the expert
            tensors[f"{name}.moe.gate.shift"] = ((), "uint8")
            if network.select_bias:
                tensors[f"{name}.moe.gate.select_bias"] = ((tasks, experts), "int16")
            tensors[f"{name}.moe.order"] = ((experts,), "uint8")
            tensors[f"{name}.moe.speculate"] = ((), "uint8")
            linear(f"{name}.moe.fc1", network.expert_hidden, dim, experts)
            linear(f"{name}.moe.fc2", dim, network.expert_hidden, experts)
            if network.shared_hidden:
                linear(f"{name}.moe.shared.fc1", network.shared_hidden, dim)
                linear(f"{name}.moe.shared.fc2", dim, network.shared_hidden)
        else:
            linear(f"{name}.mlp.fc1", network.hidden, dim)
            linear(f"{name}.mlp.fc2", dim, network.hidden, *((tasks,) if network.task_fc2 else ()))
    return tensors


@dataclass(frozen=True)
class QuantisedModel:
    """A network and its integer tensors. An output token is integer x 2^-residual_fraction.

    ``heads`` (float32) and ``host`` say what the host does around the machine. ``host["preprocess"]`` makes an image of
    a picture, ``host["heads"]`` has the options of each head (`spec.heads`), ``host["source"]`` says where the weights
    are from. The names of ``heads`` begin with ``heads.``.

    Raises QuantisedModelError.
    """

    network: Network
    tensors: dict[str, np.ndarray]
    residual_fraction: int
    notes: dict[str, object] = field(default_factory=dict)
    heads: dict[str, np.ndarray] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.residual_fraction) is not int or not 0 <= self.residual_fraction < 16:  # True is an int
            raise QuantisedModelError(f"residual_fraction must be 0..15, not {self.residual_fraction!r}")
        expected = tensor_shapes(self.network)
        for name in sorted(expected.keys() - self.tensors.keys()):
            raise QuantisedModelError(f"tensor {name} is missing")
        for name in sorted(self.tensors.keys() - expected.keys()):
            raise QuantisedModelError(f"tensor {name} is not part of network {self.network.name}")
        for name, (shape, dtype) in expected.items():
            tensor = self.tensors[name]
            if tensor.shape != shape or tensor.dtype != dtype:
                raise QuantisedModelError(f"tensor {name} is {tensor.dtype}{list(tensor.shape)}, "
                                          f"expected {dtype}{list(shape)}")
            if dtype == "int8" and tensor.size and tensor.min() < -127:
                raise QuantisedModelError(f"tensor {name} contains -128; weights are symmetric, -127..127")
            if name.endswith("gate.weight") and np.abs(tensor.astype(int)).max() > 127 * 128 + 63:
                raise QuantisedModelError(f"tensor {name} exceeds +-16319, the range of two digits")
            if name.endswith("moe.order") and sorted(tensor.tolist()) != list(range(self.network.experts)):
                raise QuantisedModelError(f"tensor {name} = {tensor.tolist()} does not name every expert once")
            if name.endswith("moe.speculate") and tensor > self.network.experts:
                raise QuantisedModelError(f"tensor {name} = {tensor}, but there are {self.network.experts} experts")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def save(self, path: Path) -> None:
        """Write the file. Raises OSError."""
        meta = {"version": FORMAT_VERSION, "network": asdict(self.network),
                "residual_fraction": self.residual_fraction, "notes": self.notes, "host": self.host}
        write_npz(path, {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), **self.tensors, **self.heads})

    @classmethod
    def load(cls, path: Path) -> "QuantisedModel":
        """The model in a file. Raises QuantisedModelError, which names ``path``, unless it is complete and of this
        version."""
        try:
            arrays = read_npz(path)
            if "meta" not in arrays:
                raise QuantisedModelError("no array called meta")
            meta = json.loads(arrays.pop("meta").tobytes())
            if meta["version"] != FORMAT_VERSION:
                raise QuantisedModelError(f"it has version {meta['version']}, this is {FORMAT_VERSION}: quantise again")
            network = Network.from_fields(meta["network"])
            heads = {name: arrays.pop(name) for name in list(arrays) if name.startswith(HEADS)}
            return cls(network, arrays, meta["residual_fraction"], meta["notes"], heads, meta["host"])
        except KeyError as error:
            raise QuantisedModelError(f"{path} is not a quantised model: meta has no {error}") from error
        except (TypeError, ValueError) as error:
            raise QuantisedModelError(f"{path} is not a quantised model: {error}") from error
