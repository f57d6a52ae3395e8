# SPDX-License-Identifier: Apache-2.0
"""Whether the model puts units in the order in which a placed and routed part has them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BLOCK_NS", "Placed", "calibration", "placed_units", "spearman"]

#: A placed path that spends this long in cells runs through a multiplier or a block RAM. Beside its LUTs an ECP5 has
#: slower ones than our parts.
BLOCK_NS = 4.5


class Placed(NamedTuple):
    """What nextpnr says of a unit: its clock, and the time that its slowest path spends in cells."""

    mhz: float
    logic_ns: float


def placed_units(page: str) -> dict[str, Placed]:
    """Units of the table of ``docs/ecp5.md``."""
    rows = re.findall(r"(?m)^\| `(\w+)` \| ([\d.]+) \|.* \| ([\d.]+) \| [\d.]+ \|$", page)
    return {unit: Placed(float(mhz), float(logic)) for unit, mhz, logic in rows}


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation of the ranks of two equally long series, from -1 to 1; equal values share their mean rank."""
    def ranks(values: Sequence[float]) -> np.ndarray:
        x = np.asarray(values)
        return np.array([np.sum(x < each) + (np.sum(x == each) - 1) / 2 for each in x])

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def calibration(ours_ns: Mapping[str, float], placed: Mapping[str, Placed]) -> dict[str, Any]:
    """For ``docs/timing.json``: units that both have, with their longest paths in nanoseconds, and the correlation of
    all and of those whose placed path runs through LUTs. At least three units of each are needed, else it is None."""
    units = [{"unit": unit, "model_ns": round(ns, 3), "placed_ns": round(1e3 / placed[unit].mhz, 3),
              "block": placed[unit].logic_ns >= BLOCK_NS} for unit, ns in ours_ns.items() if unit in placed]
    return {"units": units, "spearman": _rank(units),
            "spearman_luts": _rank([unit for unit in units if not unit["block"]])}


def _rank(units: Sequence[Mapping[str, Any]]) -> float | None:
    if len(units) < 3:
        return None
    return round(spearman([unit["model_ns"] for unit in units], [unit["placed_ns"] for unit in units]), 2)
