# SPDX-License-Identifier: Apache-2.0
"""The one rounding rule and the one saturation rule, as expressions; see ``golden.integer.rounding``."""

from amaranth import *
from amaranth.hdl import ValueLike

__all__ = ["round_shift", "saturate"]


def round_shift(value: ValueLike, shift: int) -> Value:
    """``value / 2^shift`` for a constant shift, rounded half up."""
    value = Value.cast(value)
    if shift == 0:
        return value
    return (value + (1 << (shift - 1))) >> shift


def saturate(value: ValueLike, low: int, high: int) -> tuple[Value, Value]:
    """``value`` clipped to low..high, and whether that changed it."""
    value = Value.cast(value)
    above, below = value > high, value < low
    return Mux(above, high, Mux(below, low, value)), above | below
