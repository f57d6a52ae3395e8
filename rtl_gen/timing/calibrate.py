# SPDX-License-Identifier: Apache-2.0
"""Whether the model puts units in the order in which a placed and routed part has them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["calibration", "placed_mhz", "spearman"]


def placed_mhz(page: str) -> dict[str, float]:
    """Clock by unit that nextpnr reached, from the table of ``docs/ecp5.md``."""
    return {unit: float(mhz) for unit, mhz in re.findall(r"(?m)^\| `(\w+)` \| ([\d.]+) \|", page)}


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation of the ranks of two equally long series, from -1 to 1; equal values share their mean rank."""
    def ranks(values: Sequence[float]) -> np.ndarray:
        x = np.asarray(values)
        return np.array([np.sum(x < each) + (np.sum(x == each) - 1) / 2 for each in x])

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def calibration(ours_ns: Mapping[str, float], placed: Mapping[str, float]) -> dict[str, Any]:
    """For ``docs/timing.json``: units that both have, with their longest paths in nanoseconds, and the correlation."""
    units = [unit for unit in ours_ns if unit in placed]
    pairs = [(round(ours_ns[unit], 3), round(1e3 / placed[unit], 3)) for unit in units]
    rank = spearman(*zip(*pairs, strict=True)) if len(units) > 2 else float("nan")
    return {"units": [{"unit": unit, "model_ns": ours, "placed_ns": theirs}
                      for unit, (ours, theirs) in zip(units, pairs, strict=True)], "spearman": round(rank, 2)}
