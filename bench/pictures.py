# SPDX-License-Identifier: Apache-2.0
"""Pictures: what array and memory bus do during a frame, and where the cycles of all frames went."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from moevit.host.report import KINDS
from moevit.report.colours import BUS, KIND_COLOURS, STALL_COLOURS
from moevit.spec.parts import Part

from .frame import BINS, FrameRun

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

__all__ = ["gantt", "where_cycles_went"]


def gantt(frame: FrameRun, path: Path) -> None:
    """Draw a frame: instructions (the machine's log), use of the array (performance model), beats on the bus."""
    figures = frame.figures
    scale = 1e-3
    figure, axes = plt.subplots(3, 1, figsize=(16, 4.5), sharex=True, height_ratios=(1, 1, 1.4))
    for kind, colour in KIND_COLOURS.items():
        ends = [0, *(end for _, _, end in frame.passes)]
        logged = [(begin * scale, (end - begin) * scale)
                  for (part, _, end), begin in zip(frame.passes, ends, strict=False) if KINDS[Part(part)] == kind]
        axes[0].broken_barh(logged, (0, 1), color=colour, label=kind)
        passes = np.array([(start, end - start, busy) for part, start, end, busy in frame.predicted
                           if KINDS[Part(part)] == kind and busy]).reshape(-1, 3)
        axes[1].bar(passes[:, 0] * scale, passes[:, 2] / passes[:, 1], passes[:, 1] * scale, align="edge", color=colour)
    axes[0].set_ylabel("instructions\n(RTL's log)")
    axes[1].set_ylabel("array busy\n(model)")
    width = figures["cycles"] / BINS
    share = np.array(frame.beats) / width
    axes[2].fill_between((np.arange(BINS) + 0.5) * width * scale, share, step="mid", color=BUS)
    axes[2].set_ylabel("bus beats\nper cycle (RTL)")
    axes[2].set_xlabel("thousand cycles")
    axes[0].set_yticks([])
    axes[1].set_ylim(0, 1)
    axes[2].set_xlim(0, figures["cycles"] * scale)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False, bbox_to_anchor=(0.5, 0.94))
    figure.suptitle(f"{figures['network']} on the {figures['class']} ({figures['array']}): "
                    f"{figures['cycles']:,} cycles")
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def where_cycles_went(frames: Sequence[FrameRun], path: Path) -> None:
    """Draw a bar per frame: the shares of its cycles by the activity of the row reader."""
    figure, axis = plt.subplots(figsize=(10, 1.2 + 0.45 * len(frames)))
    names = [f"{each.figures['network']}, {each.figures['class']}"
             + (f", batch {each.figures['batch']}" if each.figures["batch"] > 1 else "") for each in frames]
    left = np.zeros(len(frames))
    for cause, colour in STALL_COLOURS.items():
        shares = np.array([each.figures["stalls"].get(cause, 0) / each.figures["cycles"] for each in frames])
        axis.barh(names, shares, left=left, color=colour, label=cause)
        left += shares
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axis.legend(ncols=len(STALL_COLOURS), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
