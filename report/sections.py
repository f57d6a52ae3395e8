# SPDX-License-Identifier: Apache-2.0
"""The page's sections: a function each, from what is known of a run; one whose data are not there says why."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moevit.host.report import RunReport
from moevit.spec.registers import PASS_LOG_ENTRIES

from . import bars, heatmap, maps
from .colours import STALL_WORDS
from .page import Section, absent, chart, paragraph, table
from .roofline import Pass, roofline
from .run import logged
from .stalls import stalls
from .timeline import Lane, timeline

__all__ = ["attention", "costs", "experts", "fidelity", "memories", "prediction", "provenance", "routing", "schedule",
           "waits"]


def schedule(report: RunReport | None, moved: Sequence[Lane], predicted: Lane, cycles: int, no_time: str) -> Section:
    """``moved``: lanes of what the memory bus moved; empty where nothing records it. ``no_time``: why there is no
    measured cycle."""
    title = "Load, compute and write over time"
    if report is None:
        lanes = [predicted]
        about = f"{no_time} The bars are the estimator's prediction, not a measurement."
    else:
        lanes = [*[lane for lane in moved if lane.label == "load"], logged(report.passes), predicted,
                 *[lane for lane in moved if lane.label == "write"]]
        about = ("Weights of later passes are loaded while earlier ones compute. The machine logs the end of each "
                 "instruction, so a logged bar begins where the one before ends. Rows stay on chip until the last "
                 "instruction writes the tokens.")
        if len(report.passes) == PASS_LOG_ENTRIES:
            about += f" The log keeps the first {PASS_LOG_ENTRIES} instructions."
        if not moved:
            about += " Loads and writes are not shown: a board does not record its bursts."
    about += " Bars that overlap in time stand in rows below each other, so the rows of a lane alternate."
    body = chart(lambda width: timeline(lanes, 0, cycles, width, "Timeline of the frame"))
    window = _one_block(lanes[0] if report is None else logged(report.passes))
    if window:
        begin, end = window
        body += f"<h3>One block, cycles {begin:,.0f} to {end:,.0f}</h3>"
        body += chart(lambda width: timeline(lanes, begin, end, width, "Timeline of one block"))
    return Section(title, about, body)


def _one_block(lane: Lane) -> tuple[float, float] | None:
    """From the first to the last bar of block 1, or of the only block."""
    for block in (1, 0):
        found = [bar for bar in lane.bars if bar.block == block]
        if found:
            return min(bar.start for bar in found), max(bar.end for bar in found)
    return None


def costs(passes: Sequence[Pass], peak: float, memories: Mapping[str, float], no_time: str) -> Section:
    """The roofline. ``no_time``: why ``passes`` are the estimator's; "" if the machine logged them."""
    title = "Roofline"
    about = ("A circle is a pass; its area is its share of the cycles. Below the roof a pass waits for something else, "
             "or leaves lanes empty. Passes that read nothing from memory stand at the right edge.")
    drawn = f"Roofline of the passes{', predicted' if no_time else ''}"
    return Section(title, _predicted(no_time) + about,
                   chart(lambda width: roofline(passes, peak, memories, width, drawn)))


def _predicted(no_time: str) -> str:
    return f"{no_time} The cycles are the estimator's prediction, not a measurement. " if no_time else ""


def waits(found: Mapping[str, Mapping[str, int]], no_time: str) -> Section:
    """Stalls by cause, by task. ``no_time``: why they are the estimator's; "" if they are measured."""
    title = "Where the cycles went"
    found = {f"{task}, predicted" if no_time else task: causes for task, causes in found.items()}
    rows = [(f"{STALL_WORDS[cause]} ({cause})", *(f"{causes[cause]:,}" for causes in found.values()))
            for cause in next(iter(found.values()))]
    return Section(title, _predicted(no_time) + "Each cycle is in one counter: what the row reader did in it.",
                   chart(lambda width: stalls(found, width, "Cycles by cause"))
                   + table("Cycles by cause", ["cause", *found], rows))


def experts(loads: Mapping[str, np.ndarray], blocks: Sequence[int], sources: str, why: str) -> Section:
    """``loads``: tokens (blocks, experts) by task."""
    title = "Tokens of each expert"
    if not loads:
        return absent(title, why)
    body = "".join(f"<h3>Task {task}</h3>" + chart(lambda width, task=task, load=load:  # type: ignore[misc]
                                                  heatmap.experts(load, blocks, width, task))
                   for task, load in loads.items())
    return Section(title, f"An expert without tokens is passed over. {sources}", body)


def routing(image: np.ndarray | None, found: Mapping[str, np.ndarray], why: str) -> Section:
    """``found``: the first expert of each patch, by caption."""
    title = "Which patch goes to which expert"
    if image is None or not found:
        return absent(title, why)
    return Section(title, "Each patch in the colour, and with the number, of its first expert, from the integer model.",
                   chart(lambda width: maps.routing(image, found, width, "First expert of each patch")))


def attention(image: np.ndarray | None, found: Mapping[str, np.ndarray], query: tuple[int, int] | None,
              why: str) -> Section:
    """``found``: weight of each patch, by caption."""
    title = "Where attention looks"
    if image is None or not found:
        return absent(title, why)
    who = "the framed patch" if query else "the class token"
    return Section(title, f"Attention of {who}, from the integer model. Light patches weigh most; each map has its own "
                   "scale.", chart(lambda width: maps.attention(image, found, query, width, "Attention maps")))


def fidelity(found: Any, depth: int, why: str) -> Section:
    """``found`` is a `golden.quant.fidelity.Fidelity`, or None."""
    title = "What the integers lose"
    if found is None:
        return absent(title, why)
    clipped = [(name, f"{count:,}", f"{found.written[name]:,}", f"{count / found.written[name]:.4%}")
               for name, count in sorted(found.saturated.items(), key=lambda item: -item[1]) if count]
    body = chart(lambda width: heatmap.fidelity(found.sqnr, depth, width))
    others = [(name, f"{value:.1f}") for name, value in found.sqnr.items() if "." not in name]
    body += table("SQNR of the other tensors, in dB", ["tensor", "dB"], others)
    body += table("Saturated values", ["tensor", "clipped", "of", "share"], clipped[:12]) if clipped else paragraph(
        "No value saturated.")
    return Section(title, "Signal to quantisation noise against the float model: 40 dB is an error of one hundredth. A "
                   "cell is empty where there is no such tensor, or where routing makes it incomparable.", body)


def memories(config: str, board: str, budgets: Sequence[bars.Budget], rows: Sequence[Sequence[object]]) -> Section:
    """``rows``: name, words, bits, copies, BRAM36, URAM of each memory."""
    about = f"Estimated from the declarations of {config}, before any synthesis; LUTs and flip-flops are not estimated."
    body = chart(lambda width: bars.resources(budgets, width, board)) if budgets else paragraph(
        f"No board in spec/boards.py is meant for {config}: there is no budget to compare with. Say --board.")
    return Section("Memories and slices", about, body + table(
        "On-chip memories", ["memory", "words", "bits", "copies", "BRAM36", "URAM"], rows))


def prediction(measured: RunReport | None, predicted: Any, assumed: str, why: str) -> Section:
    """``predicted`` is an `estimator.estimate.Estimate`. ``assumed``: memory that it was made for."""
    title = "Predicted and measured cycles"
    bounds = [("by the memory bus", f"{predicted.memory_bound:,.0f}"),
              ("by the array", f"{predicted.compute_bound:,.0f}")]
    below = table("Bounds from below, in cycles", ["bound", "cycles"], bounds)
    if measured is None:
        return Section(title, f"{why} The estimator predicts {predicted.cycles:,} cycles, {assumed}.", below)
    apart = predicted.cycles / measured.cycles - 1
    return Section(title, f"{predicted.cycles:,} predicted, {measured.cycles:,} measured: {apart:+.1%}. The prediction "
                   f"has the expert loads of this run, {assumed}.",
                   chart(lambda width: bars.prediction(measured.stalls, predicted.timing.stalls, width)) + below)


def provenance(facts: Mapping[str, str]) -> Section:
    """What the page is made of."""
    rows = table("Files, versions, command", ["what", "value"], list(facts.items()))
    return Section("Provenance", "", f'<div class="facts">{rows}</div>')
