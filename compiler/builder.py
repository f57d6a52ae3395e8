# SPDX-License-Identifier: Apache-2.0
"""What every part of a network is built from: named instructions with the bytes that each takes from the bus."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from moevit.spec.formats import INVERSE_DIM_FRACTION
from moevit.spec.isa import Destination, Opcode, Region, WeightSource
from moevit.spec.quantised import QuantisedModel
from moevit.spec.splits import adds_to_residual, channel_parts

from .packing import linear_bytes, pack_linear, pack_words, pad_groups
from .plan import Plan, RowRange, ceil_div

__all__ = ["Builder", "Layout", "Payload", "Step"]


@dataclass(frozen=True, eq=False)
class Payload:
    """Bytes of a stream: ``count`` parts of ``size`` bytes each, one per task or one per expert. Blocks of rows share
    it. ``pack``: the bytes of a part, made when they are laid out, not to predict time."""

    size: int
    pack: Callable[[int], bytes]
    count: int = 1


class Layout(NamedTuple):
    """Where a linear layer's channels lie in the rows that it reads or writes: in ``groups`` of equal length, one every
    ``size`` lanes. Lanes between them hold zeros."""

    groups: int
    size: int


class _Part(NamedTuple):
    """Input channels that a pass adds up: its payload, and the words that they lie in."""

    payload: Payload
    channels: slice
    first_word: int
    words: int


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
        self.gains: dict[str, Payload] = {}
        self.parts: dict[str, list[_Part]] = {}
        self.normed = False

    def add(self, name: str, opcode: Opcode, payload: Payload | None = None, macs: int = 0, **fields: Any) -> None:
        self.steps.append(Step(name, {"opcode": opcode, **fields}, payload, macs))

    def linear(self, name: str, *, columns: int, inputs: Layout | None = None, outputs: Layout | None = None,
               copies: int = 0, **fields: Any) -> None:
        """Passes over streamed weights: one, or as many as the accumulator needs (`spec.splits`), each of which then
        waits for the one before. ``copies``: experts or tasks that have weights of their own."""
        if name not in self.parts:
            self.parts[name] = self._parts(name, inputs, outputs, copies)
        shift, n_tiles = int(self.model[f"{name}.shift"]), ceil_div(columns, self.config.n_lanes)
        options = {"region": Region.WEIGHTS, "weights": WeightSource.BUS, "columns": columns, "shift": shift,
                   "n_tiles": n_tiles, **fields}
        outs = self.model[f"{name}.weight"].shape[-2]
        for index, part in enumerate(self.parts[name]):
            if index:
                options |= {"overlap": 0, "rowwise": 0, "source_base": fields["source_base"] + part.first_word}
            self.add(f"{name}[{index}]" if index else name, Opcode.PASS, part.payload, k_tiles=part.words,
                     macs=outs * (part.channels.stop - part.channels.start), **options)

    def _parts(self, name: str, inputs: Layout | None, outputs: Layout | None, copies: int) -> list[_Part]:
        weight = self.model[f"{name}.weight"]
        channels = weight.shape[-1]
        inputs = inputs or Layout(1, channels)
        group, lanes = channels // inputs.groups, self.config.k_lanes
        parts = []
        for part in channel_parts(weight) if adds_to_residual(name) else (slice(0, channels),):
            first, last = (channel // group * inputs.size + channel % group for channel in (part.start, part.stop - 1))
            words = slice(first // lanes, last // lanes + 1)
            if part.stop == channels:  # words of nothing but zeros behind the last channel are not read
                words = slice(words.start, self.plan.words(inputs.groups * inputs.size))
            columns = outputs.groups * outputs.size if outputs else weight.shape[-2]
            pack = partial(self._pack, name, part, words, inputs, outputs, copies)
            size = linear_bytes(self.config, columns, words.stop - words.start)
            parts.append(_Part(Payload(size, pack, copies or 1), part, words.start, words.stop - words.start))
        return parts

    def _pack(self, name: str, part: slice, words: slice, inputs: Layout, outputs: Layout | None, copies: int,
              copy: int) -> bytes:
        """The bytes of a part for one expert or task."""
        index = (copy,) if copies else ()
        weight, scale, bias = (self.model[f"{name}.{tensor}"][index] for tensor in ("weight", "column_scale", "bias"))
        if part.stop - part.start < weight.shape[1]:
            mine = np.zeros(weight.shape[1], np.int8)
            mine[part] = 1
            weight, bias = weight * mine, bias * (part.start == 0)
        lanes = self.config.k_lanes
        padded = pad_groups(weight, 1, *inputs)
        padded = np.pad(padded, ((0, 0), (0, self.whole_words(padded.shape[1]) - padded.shape[1])))
        padded = padded[:, words.start * lanes:words.stop * lanes]
        if outputs:
            padded, scale, bias = (pad_groups(each, 0, *outputs) for each in (padded, scale, bias))
        return pack_linear(self.config, padded, scale, bias)

    def whole_words(self, channels: int) -> int:
        return self.plan.words(channels) * self.config.k_lanes

    def residual_rows(self, block: RowRange) -> dict[str, Any]:
        return {"source_base": block.start * self.plan.dim_words, "source_stride": self.plan.dim_words,
                "rows": block.rows}

    def add_to_residual(self, block: RowRange) -> dict[str, Any]:
        return {"destination": Destination.RESIDUAL, "destination_base": block.start * self.plan.dim_words,
                "destination_stride": self.plan.dim_words}

    def groups(self, rows: int, gap: int) -> dict[str, Any]:
        """Fields of a pass whose destination has a gap between the rows of one image and the next."""
        return {"group": rows, "gap": gap} if self.plan.batch > 1 and gap else {}

    def norm(self, name: str, block: RowRange, copied: bool = False) -> None:
        how: dict[str, Any] = {"copy": 1, "destination_base": self.plan.copy} if copied else {"rowwise": 1}
        if self.plan.whole:
            how |= {"summed": 1} if self.normed else {"rowwise": 0}  # the first one finds the sums
        self.normed = True
        if name not in self.gains:
            gain = self.model[f"{name}.gain"]
            self.gains[name] = self.rows_of_words(gain[None])
        self.add(name, Opcode.NORM, self.gains[name],
                 region=Region.WEIGHTS, k_tiles=self.plan.dim_words, dim=self.network.dim,
                 inverse_dim=round((1 << INVERSE_DIM_FRACTION) / self.network.dim),
                 epsilon=int(self.model[f"{name}.epsilon"]), **how, **self.residual_rows(block))

    def rows_of_words(self, rows: np.ndarray) -> Payload:
        """Rows (rows, channels) s16 as they lie in the residual memory."""
        return Payload(len(rows) * self.plan.words(rows.shape[1]) * self.config.word_bytes,
                       lambda _: pack_words(self.config, rows))
