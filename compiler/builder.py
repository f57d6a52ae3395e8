# SPDX-License-Identifier: Apache-2.0
"""Instructions with the bytes that each takes from the bus, and the methods that all parts of a network share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from moevit.spec.formats import INVERSE_DIM_FRACTION
from moevit.spec.isa import Destination, Opcode, Region, WeightSource
from moevit.spec.parts import Part
from moevit.spec.quantised import QuantisedModel
from moevit.spec.splits import adds_to_residual, channel_parts

from .packing import linear_bytes, pack_linear, pack_words, pad_groups
from .plan import Plan, RowRange, ceil_div

__all__ = ["Builder", "Layout", "Payload", "Step"]


@dataclass(frozen=True, eq=False)
class Payload:
    """Bytes that an instruction takes from the bus: ``count`` copies of ``size`` bytes, one per task or per expert.

    The row ranges of a part share it. ``pack(copy)`` makes the bytes. Only the assembler calls it; predicting time does
    not need the bytes.
    """

    size: int
    pack: Callable[[int], bytes]
    count: int = 1


class Layout(NamedTuple):
    """Where the channels of a linear layer lie in the rows that it reads or writes: in ``groups`` of equal length, one
    every ``size`` lanes. The lanes between them hold zeros."""

    groups: int
    size: int


class _Share(NamedTuple):
    """Input channels that one pass of a layer adds up: the pass's payload, and the words that they lie in."""

    payload: Payload
    channels: slice
    first_word: int
    words: int


@dataclass(frozen=True)
class Step:
    """One instruction. The manifest gets ``name``, ``part``, ``block``, ``head`` and ``macs``.

    ``fields``: of the instruction set. ``payload``: its bytes, unless it takes the image or none. ``macs``:
    multiply-accumulates of the network per row, padding not counted. ``block``: number of its transformer block.
    """

    name: str
    part: Part
    fields: dict[str, int]
    payload: Payload | None = None
    macs: int = 0
    block: int | None = None
    head: int | None = None


class Builder:
    """Collects the steps of ``model`` on ``plan``. Parts of a network share its methods."""

    def __init__(self, model: QuantisedModel, plan: Plan):
        self.model, self.plan, self.network, self.config = model, plan, model.network, plan.config
        self.steps: list[Step] = []
        self.gains: dict[str, Payload] = {}
        self.shares: dict[str, list[_Share]] = {}
        self.normed = False

    def add(self, name: str, part: Part, opcode: Opcode, payload: Payload | None = None, *, macs: int = 0,
            block: int | None = None, head: int | None = None, **fields: Any) -> None:
        """Append one instruction with ``fields``."""
        self.steps.append(Step(name, part, {"opcode": opcode, **fields}, payload, macs, block, head))

    def linear(self, name: str, part: Part, block: int | None, *, columns: int, inputs: Layout | None = None,
               outputs: Layout | None = None, copies: int = 0, **fields: Any) -> None:
        """Append the passes of the linear layer ``name``, whose weights come from the bus.

        There is one pass, or as many as the accumulator needs (`spec.splits`), each of which then waits for the one
        before. ``columns``: outputs with padding between ``outputs``. ``copies``: experts or tasks that have weights of
        their own; 0 if the layer has one set.
        """
        if name not in self.shares:
            self.shares[name] = self._shares(name, inputs, outputs, copies)
        shift, n_tiles = int(self.model[f"{name}.shift"]), ceil_div(columns, self.config.n_lanes)
        options = {"region": Region.WEIGHTS, "weights": WeightSource.BUS, "columns": columns, "shift": shift,
                   "n_tiles": n_tiles, **fields}
        outs = self.model[f"{name}.weight"].shape[-2]
        for index, share in enumerate(self.shares[name]):
            if index:
                options |= {"overlap": 0, "rowwise": 0, "source_base": fields["source_base"] + share.first_word}
            self.add(f"{name}[{index}]" if index else name, part, Opcode.PASS, share.payload, block=block,
                     macs=outs * (share.channels.stop - share.channels.start), k_tiles=share.words, **options)

    def _shares(self, name: str, inputs: Layout | None, outputs: Layout | None, copies: int) -> list[_Share]:
        weight = self.model[f"{name}.weight"]
        channels = weight.shape[-1]
        inputs = inputs or Layout(1, channels)
        group, lanes = channels // inputs.groups, self.config.k_lanes
        shares = []
        for mine in channel_parts(weight) if adds_to_residual(name) else (slice(0, channels),):
            first, last = (channel // group * inputs.size + channel % group for channel in (mine.start, mine.stop - 1))
            words = slice(first // lanes, last // lanes + 1)
            if mine.stop == channels:  # words of nothing but zeros behind the last channel are not read
                words = slice(words.start, self.plan.words(inputs.groups * inputs.size))
            columns = outputs.groups * outputs.size if outputs else weight.shape[-2]
            pack = partial(self._pack, name, mine, words, inputs, outputs, copies)
            size = linear_bytes(self.config, columns, words.stop - words.start)
            shares.append(_Share(Payload(size, pack, copies or 1), mine, words.start, words.stop - words.start))
        return shares

    def _pack(self, name: str, channels: slice, words: slice, inputs: Layout, outputs: Layout | None, copies: int,
              copy: int) -> bytes:
        """The bytes of a share for one expert or task. Only its first share adds the bias."""
        index = (copy,) if copies else ()
        weight, scale, bias = (self.model[f"{name}.{tensor}"][index] for tensor in ("weight", "column_scale", "bias"))
        if channels.stop - channels.start < weight.shape[1]:
            mine = np.zeros(weight.shape[1], np.int8)
            mine[channels] = 1
            weight, bias = weight * mine, bias * (channels.start == 0)
        lanes = self.config.k_lanes
        padded = pad_groups(weight, 1, *inputs)
        padded = np.pad(padded, ((0, 0), (0, self.whole_words(padded.shape[1]) - padded.shape[1])))
        padded = padded[:, words.start * lanes:words.stop * lanes]
        if outputs:
            padded, scale, bias = (pad_groups(each, 0, *outputs) for each in (padded, scale, bias))
        return pack_linear(self.config, padded, scale, bias)

    def whole_words(self, channels: int) -> int:
        """Lanes of the words that ``channels`` values take."""
        return self.plan.words(channels) * self.config.k_lanes

    def residual_rows(self, rows: RowRange) -> dict[str, Any]:
        """Fields of an instruction that reads residual ``rows``."""
        return {"source_base": rows.start * self.plan.dim_words, "source_stride": self.plan.dim_words,
                "rows": rows.length}

    def add_to_residual(self, rows: RowRange) -> dict[str, Any]:
        """Fields of a pass that adds its results to residual ``rows``."""
        return {"destination": Destination.RESIDUAL, "destination_base": rows.start * self.plan.dim_words,
                "destination_stride": self.plan.dim_words}

    def groups(self, rows: int, gap: int) -> dict[str, Any]:
        """Fields of a pass whose destination has a gap between the rows of one image and the next."""
        return {"group": rows, "gap": gap} if self.plan.batch > 1 and gap else {}

    def norm(self, part: Part, block: int, rows: RowRange, copied: bool = False) -> None:
        """Append a NORM of ``rows``: ``part`` is NORM1 or NORM2. ``copied``: it copies them for the experts."""
        name = f"blocks.{block}.{part.value}"
        how: dict[str, Any] = {"copy": 1, "destination_base": self.plan.copy} if copied else {"rowwise": 1}
        if self.plan.whole:
            how |= {"summed": 1} if self.normed else {"rowwise": 0}  # the first one finds the sums
        self.normed = True
        if name not in self.gains:
            gain = self.model[f"{name}.gain"]
            self.gains[name] = self.rows_of_words(gain[None])
        self.add(name, part, Opcode.NORM, self.gains[name], block=block,
                 region=Region.WEIGHTS, k_tiles=self.plan.dim_words, dim=self.network.dim,
                 inverse_dim=round((1 << INVERSE_DIM_FRACTION) / self.network.dim),
                 epsilon=int(self.model[f"{name}.epsilon"]), **how, **self.residual_rows(rows))

    def rows_of_words(self, rows: np.ndarray) -> Payload:
        """Rows (rows, channels) s16 as they lie in the residual memory."""
        return Payload(len(rows) * self.plan.words(rows.shape[1]) * self.config.word_bytes,
                       lambda _: pack_words(self.config, rows))
