# SPDX-License-Identifier: Apache-2.0
"""Proves by interval arithmetic that no width of the machine overflows for a network, whatever the image.

The range of each result follows from the ranges of its inputs. A sum of n terms is bounded by n times the widest term,
which also covers its partial sums. Sums over the inputs of a layer are bounded by the layer's own weights. Products
within attention are bounded by the largest factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log2, sqrt

import numpy as np

from moevit.spec.formats import (
    ACCUMULATOR_BITS,
    DIGIT_BITS,
    GAIN_SHIFT,
    INVERSE_DIM_FRACTION,
    OPERAND_MAX,
    ROW_BITS,
    WEIGHT_MAX,
)
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel
from moevit.spec.splits import adds_to_residual, channel_parts
from moevit.spec.tables import reciprocal_table, rsqrt_table

__all__ = ["Bound", "BoundsError", "Interval", "check", "model_bounds"]

LOW_DIGIT_MAX = 1 << (DIGIT_BITS - 1)
ROW_EXPONENT_MAX = 16  # `peak_scale(32768).row_scale` has this exponent


class BoundsError(ValueError):
    """A network that is too wide for some value of the machine.

    Fix: use a network with fewer channels or tokens, or weights without extreme values.
    """


@dataclass(frozen=True)
class Interval:
    """All integers from ``low`` to ``high``."""

    low: int
    high: int

    @classmethod
    def of_bits(cls, bits: int) -> "Interval":
        """The range of a two's complement number of ``bits`` bits."""
        return cls(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    @classmethod
    def unsigned(cls, bits: int) -> "Interval":
        return cls(0, (1 << bits) - 1)

    @classmethod
    def around(cls, magnitude: int) -> "Interval":
        return cls(-magnitude, magnitude)

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: "Interval") -> "Interval":
        return Interval(self.low - other.high, self.high - other.low)

    def __mul__(self, other: "Interval") -> "Interval":
        products = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(min(products), max(products))

    def times(self, count: int) -> "Interval":
        """The sum of up to ``count`` values of this range, and every partial sum in any order."""
        return Interval(min(self.low * count, 0), max(self.high * count, 0))

    def round_shift(self, shift: int) -> "Interval":
        half = (1 << shift) >> 1
        return Interval((self.low + half) >> shift, (self.high + half) >> shift)


@dataclass(frozen=True)
class Bound:
    """The value ``name`` stays within ``reached``. The machine has room for ``room``."""

    name: str
    reached: Interval
    room: Interval

    @property
    def holds(self) -> bool:
        return self.room.low <= self.reached.low and self.reached.high <= self.room.high

    @property
    def used(self) -> float:
        """The used share of the room, on the side that is fuller."""
        return max(self.reached.high / max(self.room.high, 1), self.reached.low / min(self.room.low, -1))


def check(bounds: list[Bound]) -> None:
    """Raise BoundsError with the name of every bound that does not hold."""
    broken = [f"{bound.name} reaches {bound.reached.low}..{bound.reached.high}, there is room for "
              f"{bound.room.low}..{bound.room.high}" for bound in bounds if not bound.holds]
    if broken:
        raise BoundsError("; ".join(broken))


def model_bounds(model: QuantisedModel) -> list[Bound]:
    """The bounds that follow from the weights, gains and shifts of ``model``, and those of its network."""
    return [*_weight_bounds(model), *_shift_bounds(model), *_fixed(model.network)]


def _weight_bounds(model: QuantisedModel) -> Iterator[Bound]:
    for name, tensor in model.tensors.items():
        if not name.endswith(".weight"):
            continue
        layer = name.removesuffix(".weight")
        if layer.endswith(".gate"):
            weight = tensor.astype(np.int64)
            high = (weight + LOW_DIGIT_MAX) >> DIGIT_BITS
            low = weight - (high << DIGIT_BITS)
            yield from _gate(layer, *(Interval.around(int(np.abs(digit).sum(axis=-1).max())) for digit in (low, high)))
        else:
            parts = channel_parts(tensor) if adds_to_residual(layer) else (slice(None),)
            magnitude = np.abs(tensor)  # int8 that is never -128
            for index, part in enumerate(parts):
                largest = int(magnitude[..., part].sum(axis=-1, dtype=np.int64).max())
                part_name = f"{layer}[{index}]" if len(parts) > 1 else layer
                yield _accumulator(part_name, Interval.around(OPERAND_MAX * largest))


def _shift_bounds(model: QuantisedModel) -> Iterator[Bound]:
    """A pass's shift less the row's exponent must not become negative. The row writer would clip it to 0."""
    for name, tensor in model.tensors.items():
        if not name.endswith(".shift"):
            continue
        layer = name.removesuffix(".shift")
        block, part = layer.rpartition(".attn.")[0], layer.rpartition(".")[2]
        if part in ("proj", "fc2"):
            exponent = ROW_EXPONENT_MAX
        elif part in ("patch_embed", "logit", "mix"):  # RAW rows have exponent 0; 1/sum has at most 0
            exponent = 0
        else:
            norm = f"{block}.norm1" if block else f"{'.'.join(layer.split('.')[:2])}.norm2"
            exponent = _norm_exponent(model, norm)
        yield Bound(name, Interval(int(tensor) - exponent, int(tensor)), Interval(0, 63))


def _norm_exponent(model: QuantisedModel, norm: str) -> int:
    """The largest exponent of a normalised row's scale.

    No value is farther than sqrt(spread / dim) from the mean of its row. So ``peak / sqrt(spread)`` is at most
    ``gain / 2^8 / sqrt(dim)``. Rounding of the mean and of the product adds most at the least spread, epsilon.
    """
    dim = model.network.dim
    gain = int(np.abs(model[f"{norm}.gain"].astype(np.int64)).max())
    mean_error = 0.5 + dim / 1024
    scale = gain / 2**GAIN_SHIFT / sqrt(dim)
    scale += (mean_error * gain / 2**GAIN_SHIFT + 0.5) / sqrt(int(model[f"{norm}.epsilon"]))
    rounded_up = scale * (1 + 2.0**-8) * (1 + 2.0**-9)  # the peak keeps nine bits, the spread ten
    least_mantissa = (256 * int(rsqrt_table().min())) >> 9
    return ceil(log2(max(rounded_up, 1e-9) * 2**15 / least_mantissa))


def _accumulator(name: str, reached: Interval) -> Bound:
    return Bound(f"{name} accumulator", reached, Interval.of_bits(ACCUMULATOR_BITS))


def _gate(name: str, low_weights: Interval, high_weights: Interval) -> list[Bound]:
    """Bounds of the three digit products. The arguments bound the sums of weight digits over the inputs.

    With two sweeps the third product has an accumulator of its own. The last bound covers that case too.
    """
    first = low_weights * Interval(0, OPERAND_MAX) + high_weights * Interval(0, LOW_DIGIT_MAX)
    last = first.round_shift(DIGIT_BITS) + high_weights * Interval(0, OPERAND_MAX)
    return [_accumulator(f"{name} low digits", first), _accumulator(name, last)]


def _fixed(network: Network) -> list[Bound]:
    """Bounds that hold for all weights: attention, LayerNorm, row writer, reciprocal."""
    dim = network.dim
    row = Interval.of_bits(ROW_BITS)
    total, squares = row.times(dim), (row * row).times(dim)
    inverse = round((1 << INVERSE_DIM_FRACTION) / dim)
    sixteen = Interval.unsigned(16)
    sums = Interval(0, 255 * network.tokens)
    mantissa = Interval(0, max(int(reciprocal_table().max()), 511 << 7, (511 * int(rsqrt_table().max()) + 256) >> 9))
    product = (mantissa * sixteen).round_shift(15)
    mean = (total * Interval(inverse, inverse)).round_shift(INVERSE_DIM_FRACTION)
    gained = ((row - row) * row).round_shift(GAIN_SHIFT)
    return [
        _accumulator("logit", Interval.around(OPERAND_MAX * WEIGHT_MAX).times(network.head_dim)),
        _accumulator("mix", Interval.around(255 * WEIGHT_MAX).times(network.tokens)),
        Bound("sum of exponentials", sums, Interval.unsigned(40)),
        Bound("norm sum", total, Interval.of_bits(27)),
        Bound("norm squares", Interval(0, squares.high), Interval.unsigned(41)),
        Bound("norm spread", Interval(0, dim * squares.high) + Interval.unsigned(32), Interval.unsigned(53)),
        Bound("1 / dim", Interval(inverse, inverse), Interval.unsigned(INVERSE_DIM_FRACTION)),
        Bound("mean", mean, row),
        Bound("gained", gained, Interval.of_bits(25)),
        Bound("quantiser product", gained * sixteen, Interval.of_bits(41)),
        Bound("score product", row * Interval(0, 1 << 16), Interval.of_bits(33)),
        Bound("router sum", sixteen.times(max(network.experts, 1)), Interval.unsigned(21)),
        Bound("row scale mantissa", mantissa, Interval.unsigned(16)),
        Bound("row scale x column scale", product, Interval.unsigned(17)),
        Bound("scaled accumulator", Interval.of_bits(ACCUMULATOR_BITS) * product, Interval.of_bits(45)),
    ]
