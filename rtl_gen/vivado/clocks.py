# SPDX-License-Identifier: Apache-2.0
"""The clocks that a build tries, and what became of each."""

from .exits import ExitCode, VivadoError

__all__ = ["CLOCKS_MHZ", "attempts", "clocks"]

#: Where timing does not close, the next lower one is tried. The processors' dividers reach something near each.
CLOCKS_MHZ = (300, 250, 225, 200, 175, 150, 125, 100)


def clocks(asked: float) -> list[str]:
    """The clock that is asked for and the lower ones, in MHz, in the order in which they are tried."""
    return [f"{each:g}" for each in (asked, *(each for each in CLOCKS_MHZ if each < asked))]


def attempts(text: str) -> list[dict[str, float]]:
    """The result ``tried``: for each clock the one asked for, the one reached, and the worst slacks (wns, whs) in ns.

    Raises VivadoError unless the last one met timing. The script has checked it too, but its exit code may be lost.
    """
    try:
        words = [each.split() for each in text.split(",")]
        found = [dict(zip(each[::2], map(float, each[1::2]), strict=True)) for each in words]
    except ValueError as error:
        raise VivadoError(ExitCode.NO_ARTEFACT, f"the slacks of a build are {text!r}, which are no numbers") from error
    last = found[-1]
    if not all(last[kind] >= 0 for kind in ("wns", "whs") if kind in last):
        raise VivadoError(ExitCode.TIMING, f"timing is not met: {last}", "See reports/")
    return found
