# SPDX-License-Identifier: Apache-2.0
"""One frame of a real network on the RTL, compared with the integer model, and its predicted cycles on each board."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moevit.bench.case import TASK, Case
from moevit.bench.frame import measure_case
from moevit.bench.rows import Row
from moevit.compiler.plan import reasons_against
from moevit.estimator.estimate import estimate
from moevit.golden.integer.model import IntegerModel
from moevit.spec.boards import BOARDS
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel

__all__ = ["BOARD", "board_estimates", "rtl_frame"]

BOARD = "zcu104"  # its array is 32x64


@dataclass(frozen=True)
class OwnRow(Row):
    """A row for a network that is not in `NETWORKS`."""

    own: Network | None = None

    @property
    def network(self) -> Network:
        assert self.own is not None
        return self.own


def rtl_frame(path: Path, image: np.ndarray, root: Path, progress: Callable[[str, float], None]) -> dict[str, Any]:
    """The figures of ``bench.json`` for ``image`` u8 (H, W, 3). ``different`` counts wrong values."""
    model = QuantisedModel.load(path)
    tokens = IntegerModel(model).run(image, TASK).tokens.astype(np.int16)
    row = OwnRow(BOARD, model.network.name, own=model.network)
    return measure_case(row, Case(model, image[None], tokens[None], {}, "as published"), root, progress).figures


def board_estimates(network: Network) -> dict[str, dict[str, Any]]:
    """By board: predicted ``cycles``, ``ms`` and ``share`` of the array, or the ``reason`` why the board cannot run
    it."""
    found: dict[str, dict[str, Any]] = {}
    for name, board in BOARDS.items():
        config = Row(name, network.name).config
        reasons = reasons_against(network, config)
        if reasons:
            found[name] = {"array": config.name, "reason": reasons[0]}
        else:
            predicted = estimate(network, config, board)
            cycles = predicted.cycles
            found[name] = {"array": config.name, "cycles": cycles, "clock_mhz": board.clock_mhz,
                           "ms": board.milliseconds(cycles), "share": predicted.compute_bound / cycles}
    return found
