# SPDX-License-Identifier: Apache-2.0
"""A whole frame in exact integers, layer by layer and without tiles. The machine must return the same integers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moevit.spec.formats import DIGIT_BITS, INVERSE_DIM_FRACTION
from moevit.spec.isa import ACTIVATION_OF, Saturation
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel
from moevit.spec.splits import adds_to_residual, channel_parts

from .frame import Frame, FrameError
from .norm import NormRows, apply_gain, norm_rows
from .product import product
from .rounding import round_shift
from .router import Routing, queues, route
from .row_scale import UNIT, RoundedPeak, RowScale, digits, peak_scale, quantise, reciprocal
from .row_writer import gate_logits, write_rows
from .softmax import exponentials

__all__ = ["IntegerModel", "Normed", "patch_rows", "row_operands"]


class IntegerModel:
    """Runs frames of one quantised model. Weights are stored as float32 for `product`, which is exact."""

    def __init__(self, model: QuantisedModel):
        self.model = model
        self._set(model.network, model.tensors)

    @classmethod
    def of_part(cls, network: Network, tensors: Mapping[str, np.ndarray]) -> "IntegerModel":
        """A model with only the tensors of some layers. Only the methods that need no other tensors work."""
        model = cls.__new__(cls)
        model._set(network, tensors)
        return model

    def _set(self, network: Network, tensors: Mapping[str, np.ndarray]) -> None:
        self.network = network
        self._tensors = {name: np.asarray(tensor).astype(np.float32 if name.endswith(".weight") else np.int64)
                         for name, tensor in tensors.items()}
        layers = (name.removesuffix(".weight") for name in tensors if name.endswith(".weight"))
        self._parts = {layer: channel_parts(tensors[f"{layer}.weight"]) for layer in layers if adds_to_residual(layer)}

    def run(self, image: np.ndarray, task: int = 0) -> Frame:
        """Run one image u8 (H, W, 3) for the task with index ``task`` in ``network.tasks``. Raises FrameError."""
        network = self.network
        if image.shape != (network.height, network.width, 3) or image.dtype != np.uint8:
            raise FrameError(f"{network.name} takes u8 images ({network.height}, {network.width}, 3), "
                             f"not {image.dtype} {image.shape}")
        if not 0 <= task < len(network.tasks):
            raise FrameError(f"{network.name} has {len(network.tasks)} tasks, none is number {task}")
        frame = Frame()
        frame.trace["x_embed"] = self.embed(frame, image)
        return self.run_blocks(frame, frame.trace["x_embed"], task)

    def run_blocks(self, frame: Frame, x: np.ndarray, task: int) -> Frame:
        """Run all blocks on residual rows ``x`` s16 (tokens, dim), which take the place of ``x_embed``."""
        for block in range(self.network.depth):
            x = self.project(frame, block, self.attend(frame, block, x), x)
            x = (self.experts if self.network.is_moe(block) else self.dense)(frame, block, x, task)
            frame.trace[f"{block}.x_post_mlp"] = x
        frame.trace["tokens"] = x
        return frame

    def embed(self, frame: Frame, image: np.ndarray) -> np.ndarray:
        """Residual rows s16 (tokens, dim) of an image u8 (H, W, 3)."""
        x = self._tensors["position"].copy()
        patches = x[self.network.prefix_tokens:]
        pixels = patch_rows(self.network, image)
        patches[:] = self._linear(frame, "x_embed", "patch_embed", pixels, _unit(len(pixels)), residual=patches)
        return x

    def attend(self, frame: Frame, block: int, x: np.ndarray) -> np.ndarray:
        """The mixed values of all heads (tokens, dim)."""
        network, name = self.network, f"blocks.{block}.attn"
        normed = self.norm(f"blocks.{block}.norm1", x)
        high, scale = normed.operands, normed.scale
        rows = {}
        for part, saturation in (("query", Saturation.OPERAND), ("key", Saturation.WEIGHT),
                                 ("value", Saturation.WEIGHT)):
            short = f"{block}.{part[0]}"
            rows[part] = self._linear(frame, short, f"{name}.{part}", high, scale, saturation=saturation)
            frame.trace[short] = rows[part]
        heads = {part: np.split(value, network.heads, axis=1) for part, value in rows.items()}
        logits, mixed = [], []
        for query, key, value in zip(heads["query"], heads["key"], heads["value"], strict=True):
            accumulator = product(query, key)
            logits.append(self._product(frame, f"{block}.attn_logits", f"{name}.logit", accumulator, _unit(len(x))))
            e = exponentials(logits[-1], logits[-1].max(axis=1), network.tokens)
            accumulator = product(e, value.T)
            mixed.append(self._product(frame, f"{block}.attn_out", f"{name}.mix", accumulator,
                                       reciprocal(e.sum(axis=1))))
        out = np.concatenate(mixed, axis=1)
        frame.trace[f"{block}.attn_logits"], frame.trace[f"{block}.attn_out"] = np.stack(logits), out
        return out

    def project(self, frame: Frame, block: int, mixed: np.ndarray, x: np.ndarray) -> np.ndarray:
        """``x`` plus the projection of ``mixed``."""
        name = f"{block}.x_post_attn"
        frame.trace[name] = self._linear(frame, name, f"blocks.{block}.attn.proj", *row_operands(mixed), residual=x)
        return frame.trace[name]

    def dense(self, frame: Frame, block: int, x: np.ndarray, task: int) -> np.ndarray:
        """``x`` plus the output of a dense block's FFN."""
        normed = self.norm(f"blocks.{block}.norm2", x)
        return self._ffn(frame, block, "gelu", f"blocks.{block}.mlp", normed, x,
                         index=task if self.network.task_fc2 else None)

    def hidden(self, frame: Frame, name: str, layer: str, operands: np.ndarray, scale: RowScale,
               index: int | None = None) -> np.ndarray:
        """Hidden rows of an FFN with the fc1 ``layer``. ``index``: the expert. Clipped values count for ``name``."""
        return self._linear(frame, name, layer, operands, scale, index=index,
                            activation=ACTIVATION_OF[self.network.activation])

    def contract(self, frame: Frame, block: int, layer: str, rows: np.ndarray, x: np.ndarray,
                 index: int | None = None) -> np.ndarray:
        """``x`` plus the output of ``layer``, a fc2, for the hidden ``rows``. ``index``: the expert or task of a
        stacked fc2."""
        return self._linear(frame, f"{block}.x_post_mlp", layer, *row_operands(rows), residual=x, index=index)

    def _ffn(self, frame: Frame, block: int, hidden: str, name: str, normed: "Normed", x: np.ndarray,
             index: int | None = None) -> np.ndarray:
        """``x`` plus the output of an FFN that all tokens use. Its hidden rows are traced as ``hidden``. ``index``:
        which fc2."""
        rows = self.hidden(frame, f"{block}.{hidden}", f"{name}.fc1", normed.operands, normed.scale)
        frame.trace[f"{block}.{hidden}"] = rows
        return self.contract(frame, block, f"{name}.fc2", rows, x, index)

    def experts(self, frame: Frame, block: int, x: np.ndarray, task: int) -> np.ndarray:
        """``x`` plus the shared FFN, then plus each expert in increasing order. Every addition is clipped."""
        network, name = self.network, f"blocks.{block}.moe"
        normed = self.norm(f"blocks.{block}.norm2", x)
        routing = self._route(frame, block, normed, task)
        high, scale = normed.operands, normed.scale
        x = x.copy()
        if network.shared_hidden:
            x = self._ffn(frame, block, "shared_gelu", f"{name}.shared", normed, x)
        hidden = np.zeros((*routing.experts.shape, network.expert_hidden), np.int64)
        for expert, (token, score) in enumerate(queues(routing, network.experts)):
            if not len(token):
                continue
            queued = RowScale(scale.mantissa[token], scale.exponent[token])
            rows = self.hidden(frame, f"{block}.gelu", f"{name}.fc1", high[token], queued, expert)
            hidden[routing.experts == expert] = rows
            x[token] = self._linear(frame, f"{block}.x_post_mlp", f"{name}.fc2", *row_operands(rows), index=expert,
                                    score=score, residual=x[token])
        frame.trace[f"{block}.gelu"] = hidden
        return x

    def _route(self, frame: Frame, block: int, normed: "Normed", task: int) -> Routing:
        """Route with three digit products. The product of the two low digits is below the last bit and left out."""
        name = f"blocks.{block}.moe.gate"
        weight_high, weight_low = digits(self._tensors[f"{name}.weight"][task])
        high, low = digits(normed.rows)
        accumulator = round_shift(product(high, weight_low) + product(low, weight_high), DIGIT_BITS)
        accumulator += product(high, weight_high)
        logits = gate_logits(accumulator, normed.scale, self._tensors[f"{name}.column_scale"][task],
                             self._tensors[f"{name}.bias"][task], int(self._tensors[f"{name}.shift"]))
        bias = self._tensors[f"{name}.select_bias"][task] if self.network.select_bias else None
        routing = route(logits, self.network.top_k, self.network.renormalise,
                        with_sigmoid=self.network.gate == "sigmoid", bias=bias)
        frame.trace[f"{block}.gate_logits"] = logits
        frame.trace[f"{block}.top_k_index"], frame.trace[f"{block}.top_k_score"] = routing
        return routing

    def norm(self, name: str, x: np.ndarray) -> "Normed":
        """Rows ``x`` after the LayerNorm ``name``, as 16-bit integers."""
        gain, dim = self._tensors[f"{name}.gain"], self.network.dim
        inverse_dim = round((1 << INVERSE_DIM_FRACTION) / dim)
        norm = norm_rows(x, gain, dim, inverse_dim, int(self._tensors[f"{name}.epsilon"]))
        return Normed(quantise(apply_gain(x, norm.mean[:, None], gain), _columns(norm.peak)), norm)

    def _linear(self, frame: Frame, written: str, name: str, operands: np.ndarray, scale: RowScale, *,
                index: int | None = None, **options) -> np.ndarray:
        """Operands s9 (rows, inputs) through the linear layer ``name`` (expert or task ``index``). Clipped values are
        counted.

        A layer in several parts adds each part to the rows that the part before it left. The bias comes with the first
        part.
        """
        weight, column_scale, bias = (self._tensors[f"{name}.{part}"] for part in ("weight", "column_scale", "bias"))
        if index is not None:
            weight, column_scale, bias = weight[index], column_scale[index], bias[index]
        for part in self._parts.get(name, (slice(None),)):
            result = write_rows(product(operands[:, part], weight[:, part]), scale, column_scale, bias,
                                int(self._tensors[f"{name}.shift"]), **options)
            frame.count(written, result.saturated)
            options, bias = {**options, "residual": result.rows}, np.zeros_like(bias)
        return result.rows

    def _product(self, frame: Frame, written: str, name: str, accumulator: np.ndarray, scale: RowScale) -> np.ndarray:
        """Rows of a product within attention, which has one scale for all columns and no bias."""
        columns = np.full(accumulator.shape[1], self._tensors[f"{name}.scale"])
        result = write_rows(accumulator, scale, columns, np.zeros_like(columns), int(self._tensors[f"{name}.shift"]))
        frame.count(written, result.saturated)
        return result.rows


@dataclass(frozen=True)
class Normed:
    """Normalised rows as integers in +-32640, and their statistics."""

    rows: np.ndarray
    norm: NormRows

    @property
    def operands(self) -> np.ndarray:
        """The high digits s9."""
        return digits(self.rows)[0]

    @property
    def scale(self) -> RowScale:
        return self.norm.scale


def patch_rows(network: Network, image: np.ndarray) -> np.ndarray:
    """Image (H, W, 3) -> (patches, 3 x patch x patch). Patches come row by row, each flattened as (row, column,
    channel)."""
    patch = network.patch
    down, across = network.height // patch, network.width // patch
    patches = image.reshape(down, patch, across, patch, 3).transpose(0, 2, 1, 3, 4)
    return patches.reshape(down * across, network.patch_values).astype(np.int64)


def _unit(rows: int) -> RowScale:
    return RowScale(np.full(rows, UNIT.mantissa), np.full(rows, UNIT.exponent))


def _columns(peak: RoundedPeak) -> RoundedPeak:
    return RoundedPeak(peak.m[:, None], peak.e[:, None])


def row_operands(rows: np.ndarray) -> tuple[np.ndarray, RowScale]:
    """Stored rows s16 as operands s9 and row scales, each row scaled by its own peak."""
    peak = peak_scale(np.abs(rows).max(axis=1))
    return digits(quantise(rows, _columns(peak)))[0], peak.row_scale
