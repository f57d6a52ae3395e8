# SPDX-License-Identifier: Apache-2.0
"""The schedule: a quantised network as a list of named instructions with the bytes that each takes from the bus."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moevit.spec.formats import INVERSE_DIM_FRACTION
from moevit.spec.isa import Destination, Opcode, Operand, Peak, Saturation, Source, Stream, WeightSource
from moevit.spec.quantised import QuantisedModel

from .packing import gate_digits, pack_linear, pack_words, pad_groups
from .plan import Plan, ceil_div

__all__ = ["Step", "schedule"]

ANY = 2  # deep enough an overlap for passes that depend on nothing recent


@dataclass(frozen=True)
class Step:
    """One instruction. ``payloads``: the bytes it streams, one per task for gates, one per expert for experts.

    ``macs``: multiply-accumulates of the network per row (padding not counted).
    """

    name: str
    fields: dict[str, int]
    payloads: list[bytes] = field(default_factory=list)
    macs: int = 0


class _Schedule:
    """Builds the steps of one network; each method adds those of one part of it."""

    def __init__(self, model: QuantisedModel, plan: Plan):
        self.model, self.plan, self.network, self.config = model, plan, model.network, plan.config
        self.steps: list[Step] = []
        self.residual = 0  # residual buffer that holds the tokens now

    def add(self, name: str, opcode: Opcode, payloads: list[bytes] | None = None, macs: int = 0, **fields: Any) -> None:
        self.steps.append(Step(name, {"opcode": opcode, **fields}, payloads or [], macs))

    def linear(self, name: str, tensor: str, *, columns: int, inputs: tuple[int, int] = (1, 0),
               outputs: tuple[int, int] = (1, 0), experts: int = 0, **fields: Any) -> None:
        """A pass over streamed weights; ``inputs``/``outputs`` (groups, padded size) pad heads to boundaries."""
        def payload(index: tuple[int, ...]) -> bytes:
            weight, scale, bias = (self.model[f"{tensor}.{part}"][index] for part in ("weight", "column_scale", "bias"))
            padded = pad_groups(weight, 1, inputs[0], inputs[1] or self._whole_words(weight.shape[1]))
            if outputs[1]:
                padded, scale, bias = (pad_groups(part, 0, *outputs) for part in (padded, scale, bias))
            return pack_linear(self.config, padded, scale, bias)

        weight = self.model[f"{tensor}.weight"]
        out, into = weight.shape[-2:]
        self.add(name, Opcode.PASS, [payload((e,)) for e in range(experts)] or [payload(())], macs=out * into,
                 stream=Stream.WEIGHTS, weights=WeightSource.STREAM, shift=int(self.model[f"{tensor}.shift"]),
                 k_tiles=inputs[0] * (inputs[1] or self._whole_words(into)) // self.config.k_lanes,
                 n_tiles=ceil_div(columns, self.config.n_lanes), columns=columns, **fields)

    def _whole_words(self, channels: int) -> int:
        return ceil_div(channels, self.config.k_lanes) * self.config.k_lanes

    @property
    def _residual_rows(self) -> dict[str, Any]:
        return {"source_base": self.plan.residual(self.residual), "source_stride": self.plan.dim_words,
                "rows": self.plan.rows}

    def _groups(self, rows: int, gap: int) -> dict[str, Any]:
        """Fields of a pass whose destination has a gap between the rows of one image and the next."""
        return {"group": rows, "gap": gap} if self.plan.batch > 1 and gap else {}

    def _add_to_residual(self, index: int) -> dict[str, Any]:
        return {"destination": Destination.RESIDUAL, "destination_base": self.plan.residual(index),
                "destination_stride": self.plan.dim_words}

    def embed(self) -> None:
        network, plan, config = self.network, self.plan, self.config
        patches = plan.batch * network.patches
        self.add("position", Opcode.LOAD, [pack_words(config, np.tile(self.model["position"], (plan.batch, 1)))],
                 stream=Stream.WEIGHTS, destination_base=0, k_tiles=plan.dim_words, rows=plan.rows)
        # Images one below the other are one high image.
        self.add("image", Opcode.IMAGE, stream=Stream.IMAGE, rows=patches, patch=network.patch,
                 stream_beats=3 * plan.batch * network.height * network.width // config.bus_bytes,
                 segment=3 * network.patch // 8, patches_x=network.width // network.patch,
                 destination_base=0, destination_stride=plan.patch_words)
        target = self._add_to_residual(0)
        target["destination_base"] += network.prefix_tokens * plan.dim_words
        self.linear("patch_embed", "patch_embed", columns=network.dim, source=Source.HIDDEN, operand=Operand.RAW,
                    source_base=0, source_stride=plan.patch_words, rows=patches,
                    **self._groups(network.patches, network.prefix_tokens), **target)

    def norm(self, name: str, copy_to: int | None = None) -> None:
        copy: dict[str, Any] = {} if copy_to is None else {"copy": 1, "destination_base": self.plan.residual(copy_to)}
        self.add(name, Opcode.NORM, [pack_words(self.config, self.model[f"{name}.gain"][None])],
                 stream=Stream.WEIGHTS, k_tiles=self.plan.dim_words, dim=self.network.dim,
                 inverse_dim=round((1 << INVERSE_DIM_FRACTION) / self.network.dim),
                 epsilon=int(self.model[f"{name}.epsilon"]), **copy, **self._residual_rows)

    def attention(self, name: str) -> None:
        network, plan, config = self.network, self.plan, self.config
        heads, head_lanes = network.heads, plan.head_words * config.k_lanes
        normed = {**self._residual_rows, "operand": Operand.NORM}
        self.linear(f"{name}.key", f"{name}.key", columns=heads * head_lanes, outputs=(heads, head_lanes),
                    destination=Destination.KEYS, destination_base=0, destination_stride=plan.key_tile_words,
                    saturation=Saturation.WEIGHT, **self._groups(network.tokens, plan.key_gap), **normed)
        self.linear(f"{name}.query", f"{name}.query", columns=heads * head_lanes, outputs=(heads, head_lanes),
                    destination=Destination.HIDDEN, destination_base=0, destination_stride=plan.heads_words,
                    saturation=Saturation.OPERAND, overlap=1, **normed)
        value_lanes = plan.head_value_tiles * config.n_lanes
        self.linear(f"{name}.value", f"{name}.value", columns=heads * value_lanes, outputs=(heads, value_lanes),
                    destination=Destination.VALUES, destination_base=plan.values,
                    destination_stride=plan.value_tile_words, saturation=Saturation.WEIGHT, overlap=2, **normed)
        # Logits are written while those of the image or head before are mixed: neither waits for the other to drain.
        for index in range(heads * plan.batch + 1):
            if index < heads * plan.batch:
                self._logits(name, index)
            if index > 0:
                self._mix(name, index - 1)
        self.linear(f"{name}.proj", f"{name}.proj", columns=network.dim, inputs=(heads, head_lanes),
                    source=Source.HIDDEN, operand=Operand.ROW, source_base=plan.mixed, source_stride=plan.heads_words,
                    source_peak=2 * network.tokens, rows=plan.rows, **self._add_to_residual(self.residual))

    def _head_and_image(self, index: int) -> tuple[int, int, str]:
        """All images of a head, then those of the next one."""
        head, image = divmod(index, self.plan.batch)
        return head, image, f"head{head}" if self.plan.batch == 1 else f"head{head}.image{image}"

    def _logits(self, name: str, index: int) -> None:
        network, plan = self.network, self.plan
        head, image, label = self._head_and_image(index)
        self.add(f"{name}.logit.{label}", Opcode.PASS, macs=network.tokens * network.head_dim,
                 overlap=1 if index == 0 else ANY, source=Source.HIDDEN, operand=Operand.RAW,
                 source_base=image * network.tokens * plan.heads_words + head * plan.head_words,
                 source_stride=plan.heads_words, rows=network.tokens,
                 k_tiles=plan.head_words, n_tiles=ceil_div(network.tokens, self.config.n_lanes),
                 weights=WeightSource.KEYS,
                 kv_base=head * plan.head_words * plan.key_tile_words + image * plan.image_keys,
                 kv_k_stride=plan.key_tile_words, kv_n_stride=self.config.k_lanes, columns=network.tokens,
                 constant=1, constant_scale=int(self.model[f"{name}.logit.scale"]),
                 shift=int(self.model[f"{name}.logit.shift"]), destination=Destination.HIDDEN,
                 destination_base=plan.logits(index % 2), destination_stride=plan.logit_words,
                 peak=Peak.MAXIMUM, peak_first=1, destination_peak=index % 2 * network.tokens)

    def _mix(self, name: str, index: int) -> None:
        network, plan = self.network, self.plan
        head, image, label = self._head_and_image(index)
        rows_before = image * network.tokens
        self.add(f"{name}.mix.{label}", Opcode.PASS, macs=network.tokens * network.head_dim,
                 overlap=int(network.heads * plan.batch > 1), source=Source.HIDDEN, operand=Operand.EXP,
                 source_base=plan.logits(index % 2), source_stride=plan.logit_words, rows=network.tokens,
                 keys=network.tokens, source_peak=index % 2 * network.tokens, k_tiles=plan.logit_words,
                 n_tiles=plan.head_value_tiles, weights=WeightSource.VALUES,
                 kv_base=plan.values + head * plan.head_value_tiles * plan.value_tile_words + rows_before,
                 kv_k_stride=self.config.k_lanes, kv_n_stride=plan.value_tile_words, columns=network.head_dim,
                 constant=1, constant_scale=int(self.model[f"{name}.mix.scale"]),
                 shift=int(self.model[f"{name}.mix.shift"]), destination=Destination.HIDDEN,
                 destination_base=plan.mixed + rows_before * plan.heads_words + head * plan.head_words,
                 destination_stride=plan.heads_words, peak=Peak.ABSOLUTE, peak_first=int(head == 0),
                 destination_peak=2 * network.tokens + rows_before)

    def _hidden_rows(self, words: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of a pass that writes hidden rows after GELU, and of the pass that reads them."""
        write = {"destination": Destination.HIDDEN, "destination_base": 0, "destination_stride": words, "gelu": 1,
                 "peak": Peak.ABSOLUTE, "peak_first": 1, "destination_peak": 0}
        read = {"source": Source.HIDDEN, "operand": Operand.ROW, "source_base": 0, "source_stride": words,
                "source_peak": 0}
        return write, read

    def dense(self, name: str) -> None:
        write, read = self._hidden_rows(ceil_div(self.network.hidden, self.config.k_lanes))
        self.linear(f"{name}.fc1", f"{name}.fc1", columns=self.network.hidden, operand=Operand.NORM,
                    **self._residual_rows, **write)
        self.linear(f"{name}.fc2", f"{name}.fc2", columns=self.network.dim, rows=self.plan.rows, **read,
                    **self._add_to_residual(self.residual))

    def moe(self, name: str) -> None:
        network, plan, config = self.network, self.plan, self.config
        gate, shift = self.model[f"{name}.gate.weight"], int(self.model[f"{name}.gate.shift"])
        payloads = [
            pack_linear(config, gate_digits(pad_groups(gate[task], 1, 1, plan.dim_words * config.k_lanes)),
                        self.model[f"{name}.gate.column_scale"][task], self.model[f"{name}.gate.bias"][task])
            for task in range(len(network.tasks))
        ]
        self.add(f"{name}.gate", Opcode.PASS, payloads, macs=network.experts * network.dim, stream=Stream.GATES,
                 operand=Operand.NORM, digits=1, k_tiles=plan.dim_words, n_tiles=1, columns=network.experts,
                 shift=shift, destination=Destination.ROUTER, top_k=network.top_k,
                 renormalise=int(network.renormalise), **self._residual_rows)
        self.add(f"{name}.experts", Opcode.EXPERTS, body=2, speculate=int(self.model[f"{name}.speculate"]))
        write, read = self._hidden_rows(ceil_div(network.expert_hidden, config.k_lanes))
        rows = {**self._residual_rows, "rows": 0}
        self.linear(f"{name}.fc1", f"{name}.fc1", columns=network.expert_hidden, experts=network.experts,
                    operand=Operand.NORM, queued=1, gather=1, overlap=1, **rows, **write)
        self.residual = 1 - self.residual
        self.linear(f"{name}.fc2", f"{name}.fc2", columns=network.dim, experts=network.experts, queued=1, scatter=1,
                    score=1, **read, **self._add_to_residual(self.residual))

    def store(self) -> None:
        self.add("output", Opcode.STORE, k_tiles=self.plan.dim_words, **self._residual_rows)
        self.add("end", Opcode.END)


def schedule(model: QuantisedModel, plan: Plan) -> list[Step]:
    """All steps of one batch of images, in order."""
    building = _Schedule(model, plan)
    building.embed()
    for block in range(model.network.depth):
        name = f"blocks.{block}"
        building.norm(f"{name}.norm1")
        building.attention(f"{name}.attn")
        moe = model.network.is_moe(block)
        building.norm(f"{name}.norm2", copy_to=1 - building.residual if moe else None)
        (building.moe if moe else building.dense)(f"{name}.{'moe' if moe else 'mlp'}")
    building.store()
    return building.steps


