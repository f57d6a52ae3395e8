# SPDX-License-Identifier: Apache-2.0
"""Cycles against the length of the sequence: one network, images from 128 x 128 to 480 x 640 pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from moevit.estimator.estimate import Estimate, estimate
from moevit.report.colours import SERIES
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.networks import NETWORKS

from .frame import READ_LATENCY

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

__all__ = ["BOARD", "CONFIG", "NETWORK", "cycles_against_tokens", "lengths", "picture"]

NETWORK, BOARD, CONFIG = "m3vit_small", "zcu104", "32x64_long"
#: Height and width in pixels: 64 to 1,200 patches of 16 x 16.
IMAGES = ((128, 128), (128, 256), (256, 256), (320, 320), (384, 384), (384, 512), (448, 560), (480, 640))


def lengths() -> list[Estimate]:
    """Predicted frames, the shortest sequence first."""
    return [estimate(NETWORKS[NETWORK].for_image(*image), CONFIGS[CONFIG], BOARDS[BOARD], read_latency=READ_LATENCY)
            for image in IMAGES]


def cycles_against_tokens(estimates: Sequence[Estimate]) -> list[list[str]]:
    """A table whose first line is the header.

    Columns: image, tokens, multiply-accumulates, cycles, cycles per thousand multiply-accumulates, share of the array.
    """
    lines = [["image", "tokens", "MACs, millions", "cycles (predicted)", "cycles per 1,000 MACs", "of the array"]]
    for each in estimates:
        network = each.network
        lines.append([f"{network.height} x {network.width}", f"{network.tokens:,}", f"{each.macs / 1e6:,.0f}",
                      f"{each.cycles:,}", f"{1e3 * each.cycles / each.macs:.3f}",
                      f"{each.compute_bound / each.cycles:.0%}"])
    return lines


def picture(estimates: Sequence[Estimate], measured: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw predicted cycles and both bounds, with the frames of this network among ``measured`` (``bench.json``)."""
    figure, axis = plt.subplots(figsize=(8, 5))
    tokens = [each.network.tokens for each in estimates]
    for name, style, cycles in (("predicted", "o-", [each.cycles for each in estimates]),
                                ("compute bound", "--", [each.compute_bound for each in estimates]),
                                ("memory bound", ":", [each.memory_bound for each in estimates])):
        axis.plot(tokens, np.array(cycles) / 1e6, style, color=SERIES[name], label=name)
    by_name = {each.network.name: each.network.tokens for each in estimates}
    on_rtl = np.array([(by_name[row["network"]], row["cycles"] / 1e6) for row in measured
                       if row["network"] in by_name and row["array"] == CONFIG]).reshape(-1, 2)
    axis.plot(*on_rtl.T, "kx", markersize=9, label="RTL")
    axis.set(xlabel="tokens", ylabel="million cycles", xlim=(0, None), ylim=(0, None),
             title=f"{NETWORK} on {CONFIG}, {BOARD}")
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
