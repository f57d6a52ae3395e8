# SPDX-License-Identifier: Apache-2.0
"""What every part of a network is built from: named instructions with the bytes that each takes from the bus."""

from dataclasses import dataclass
from typing import Any

from moevit.spec.formats import INVERSE_DIM_FRACTION
from moevit.spec.isa import Destination, Opcode, Stream, WeightSource
from moevit.spec.quantised import QuantisedModel

from .packing import pack_linear, pack_words, pad_groups
from .plan import Block, Plan, ceil_div

__all__ = ["Builder", "Payload", "Step"]


@dataclass(frozen=True, eq=False)
class Payload:
    """Bytes of the weight stream: one part per task for gates, one per expert for experts. Blocks of rows share it."""

    parts: tuple[bytes, ...]


@dataclass(frozen=True)
class Step:
    """One instruction. ``payload``: what it streams, besides the image.

    ``macs``: multiply-accumulates of the network per row (padding not counted).
    """

    name: str
    fields: dict[str, int]
    payload: Payload | None = None
    macs: int = 0


class Builder:
    """Collects the steps of a network on a plan; has what its parts have in common."""

    def __init__(self, model: QuantisedModel, plan: Plan):
        self.model, self.plan, self.network, self.config = model, plan, model.network, plan.config
        self.steps: list[Step] = []
        self.payloads: dict[str, Payload] = {}
        self.normed = False

    def add(self, name: str, opcode: Opcode, payload: Payload | None = None, macs: int = 0, **fields: Any) -> None:
        self.steps.append(Step(name, {"opcode": opcode, **fields}, payload, macs))

    def linear(self, name: str, *, columns: int, inputs: tuple[int, int] = (1, 0), outputs: tuple[int, int] = (1, 0),
               experts: int = 0, **fields: Any) -> None:
        """A pass over streamed weights; ``inputs``/``outputs`` (groups, padded size) pad heads to boundaries."""
        def part(index: tuple[int, ...]) -> bytes:
            weight, scale, bias = (self.model[f"{name}.{part}"][index] for part in ("weight", "column_scale", "bias"))
            padded = pad_groups(weight, 1, inputs[0], inputs[1] or self.whole_words(weight.shape[1]))
            if outputs[1]:
                padded, scale, bias = (pad_groups(part, 0, *outputs) for part in (padded, scale, bias))
            return pack_linear(self.config, padded, scale, bias)

        if name not in self.payloads:
            self.payloads[name] = Payload(tuple(part((e,)) for e in range(experts)) or (part(()),))
        out, into = self.model[f"{name}.weight"].shape[-2:]
        self.add(name, Opcode.PASS, self.payloads[name], macs=out * into,
                 stream=Stream.WEIGHTS, weights=WeightSource.STREAM, shift=int(self.model[f"{name}.shift"]),
                 k_tiles=inputs[0] * (inputs[1] or self.whole_words(into)) // self.config.k_lanes,
                 n_tiles=ceil_div(columns, self.config.n_lanes), columns=columns, **fields)

    def whole_words(self, channels: int) -> int:
        return self.plan.words(channels) * self.config.k_lanes

    def residual_rows(self, block: Block) -> dict[str, Any]:
        return {"source_base": block.start * self.plan.dim_words, "source_stride": self.plan.dim_words,
                "rows": block.rows}

    def add_to_residual(self, block: Block) -> dict[str, Any]:
        return {"destination": Destination.RESIDUAL, "destination_base": block.start * self.plan.dim_words,
                "destination_stride": self.plan.dim_words}

    def groups(self, rows: int, gap: int) -> dict[str, Any]:
        """Fields of a pass whose destination has a gap between the rows of one image and the next."""
        return {"group": rows, "gap": gap} if self.plan.batch > 1 and gap else {}

    def norm(self, name: str, block: Block, copied: bool = False) -> None:
        how: dict[str, Any] = {"copy": 1, "destination_base": self.plan.copy} if copied else {"rowwise": 1}
        if self.plan.whole:
            how |= {"summed": 1} if self.normed else {"rowwise": 0}  # the first one finds the sums
        self.normed = True
        if name not in self.payloads:
            self.payloads[name] = Payload((pack_words(self.config, self.model[f"{name}.gain"][None]),))
        self.add(name, Opcode.NORM, self.payloads[name],
                 stream=Stream.WEIGHTS, k_tiles=self.plan.dim_words, dim=self.network.dim,
                 inverse_dim=round((1 << INVERSE_DIM_FRACTION) / self.network.dim),
                 epsilon=int(self.model[f"{name}.epsilon"]), **how, **self.residual_rows(block))
