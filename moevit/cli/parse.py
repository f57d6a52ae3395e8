# SPDX-License-Identifier: Apache-2.0
"""Parsers and checks of options. Each function raises BadParameter."""

import re
from math import isfinite
from typing import Annotated

import typer

__all__ = ["ClockOption", "pair", "triple"]


def _finite(number: float | None) -> float | None:
    """A range lets nan pass."""
    if number is not None and not isfinite(number):
        raise typer.BadParameter(f"a clock in MHz, not {number}")
    return number


ClockOption = Annotated[float | None, typer.Option(
    "--clock", metavar="MHZ", min=10, max=500, callback=_finite,
    help="clock of the machine in MHz, from 10 to 500; the board's own if left out")]


def pair(text: str | None, option: str) -> tuple[int, int] | None:
    """Two numbers separated by x; None stays None."""
    if text is None:
        return None
    sides = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text)
    if sides is None:
        raise typer.BadParameter(f"two numbers up to 9999 with an x between, as in 480x640, not {text!r}",
                                 param_hint=option)
    return int(sides[1]), int(sides[2])


def triple(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Three numbers separated by commas; None stays None."""
    if text is None:
        return None
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"three numbers with commas between, as in 0.485,0.456,0.406, not {text!r}",
                                 param_hint=option) from error
    return red, green, blue
