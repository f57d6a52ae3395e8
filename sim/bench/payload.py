# SPDX-License-Identifier: Apache-2.0
"""Payloads of streams as plain Python values: int, list (arrays), dict (structs), members (enums)."""

from collections.abc import Mapping
from enum import Enum, EnumMeta
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["pack", "unpack"]


def pack(shape: Any, value: Any, where: str = "payload") -> int:
    """``value`` as the bits of ``shape``.

    Structs take a mapping with every field, arrays a sequence (or numpy array) of the exact length, enums a member or
    an int, everything else an int. A value whose shape is a layout may also be given as an int (all its bits).
    Raises ValueError naming the field where a value does not fit: nothing is clipped.
    """
    if isinstance(shape, type) and hasattr(shape, "as_shape") and not isinstance(shape, EnumMeta):
        shape = shape.as_shape()  # data.Struct classes
    if isinstance(shape, data.Layout) and not isinstance(value, int | np.integer):
        parts = dict(shape)
        if isinstance(shape, data.ArrayLayout):
            values = list(value)
            if len(values) != shape.length:
                raise ValueError(f"{where}: {len(values)} elements for an array of {shape.length}")
            given = dict(enumerate(values))
        elif isinstance(value, Mapping):
            given = dict(value)
            if given.keys() != parts.keys():
                raise ValueError(f"{where}: fields {sorted(given)} instead of {sorted(parts)}")
        else:
            raise ValueError(f"{where}: {value!r} is neither a mapping nor an int")
        bits = 0
        for key, field in parts.items():
            bits |= pack(field.shape, given[key], f"{where}.{key}") << field.offset
        return bits
    if isinstance(value, Enum):
        value = value.value
    plain = Shape.cast(shape)
    number = int(value)
    low, high = (-(1 << plain.width - 1), 1 << plain.width - 1) if plain.signed else (0, 1 << plain.width)
    if isinstance(shape, data.Layout):
        low, high = 0, 1 << plain.width
    if number != value or not low <= number < high:
        raise ValueError(f"{where}: {value!r} does not fit {plain!r}")
    return number & ((1 << plain.width) - 1)


def unpack(shape: Any, bits: int) -> Any:
    """The value of ``bits`` in ``shape``: the inverse of ``pack``."""
    if isinstance(shape, EnumMeta):
        return shape(_number(Shape.cast(shape), bits))
    if isinstance(shape, type) and hasattr(shape, "as_shape"):
        shape = shape.as_shape()
    if isinstance(shape, data.Layout):
        parts = {key: unpack(field.shape, bits >> field.offset & ((1 << field.width) - 1)) for key, field in shape}
        return list(parts.values()) if isinstance(shape, data.ArrayLayout) else parts
    return _number(Shape.cast(shape), bits)


def _number(shape: Shape, bits: int) -> int:
    return bits - (1 << shape.width) if shape.signed and bits >> shape.width - 1 else bits
