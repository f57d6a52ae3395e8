# SPDX-License-Identifier: Apache-2.0
"""The output of `make bench`: the document, the README's table, the pictures."""

import copy

import matplotlib.pyplot as plt
import pytest
from typer.testing import CliRunner

from moevit.bench.frame import BINS, FrameRun
from moevit.bench.pictures import gantt, where_cycles_went
from moevit.bench.report import document, readme_with
from moevit.cli.app import app

FIGURES = {
    "class": "zcu104", "network": "m3vit_tiny", "array": "32x64", "batch": 1, "cycles": 600_000, "clock_mhz": 300,
    "ms": 2.0, "macs": 782_719_488, "macs_per_cycle": 1304.53, "mac_dsps": 1024, "bytes_read": 16_000_000,
    "ddr_bound_cycles": 300_000, "compute_bound_cycles": 382_187, "predicted_cycles": 603_000,
    "stalls": {"BUSY": 450_000, "WAIT_WEIGHTS": 150_000}, "bit_exact": True, "values": 24_768, "weights": "made up",
}


def frame(**changes):
    figures = {**copy.deepcopy(FIGURES), **changes}
    passes = [("embed", 0, 200_000), ("norm1", 0, 210_000), ("expert_fc1", 3, 600_000)]
    predicted = [("embed", 10.0, 200_000.0, 150_000), ("expert_fc1", 210_000.0, 600_000.0, 300_000)]
    return FrameRun(figures, passes, [10] * BINS, predicted)


def test_document():
    text = document([FIGURES])
    line = next(line for line in text.splitlines() if line.startswith("| m3vit_tiny | zcu104 | 32x64"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3:9] == ["600,000", "300", "2.00", "382,187 (compute)", "64%", "1,305"]
    assert cells[9:] == ["1.27", "603,000 (+0.5%)", "24,768"]
    assert "| m3vit_tiny | zcu104 | 63.7% | 84.9% | 75.0% | 25.0% |" in text


def test_peers_are_beside_ours_with_their_sources():
    text = document([FIGURES])
    for name, ms in (("Edge-MoE", "34.64"), ("UbiMoE", "25.76"), ("CoQMoE", "6.47")):
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert ms in line and "arxiv.org/abs/" in line
    assert "| 403 |" in text  # 782.7 M / 6.47 ms / 300 MHz
    assert "| moevit | zcu104, simulated | INT8 | 300 (assumed) |" in text
    assert "Beside" not in document([{**FIGURES, "network": "deit_tiny"}])


def cells(text, *begin):
    """The first line of a table that begins with these cells, by the names of its columns."""
    lines = text.splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith(f"| {' | '.join(begin)} |"))
    head = next(n for n in range(number, 0, -1) if lines[n].startswith("|---"))
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[head - 1], lines[number])]
    return dict(zip(*split, strict=True))


def test_macs_per_cycle_per_mac_dsp_and_per_total_dsp():
    text = document([FIGURES])
    assert {name: cells(text, "moevit")[name] for name in ("MAC DSP", "total DSP", "per MAC DSP", "per total DSP")} == {
        "MAC DSP": "1,024", "total DSP": "1,227", "per MAC DSP": "1.27", "per total DSP": "1.06"}
    coqmoe = cells(text, "CoQMoE")
    assert (coqmoe["total DSP"], coqmoe["per MAC DSP"], coqmoe["per total DSP"]) == ("1,754", "–", "0.23")
    assert {cells(text, "Edge-MoE")[name] for name in ("MAC DSP", "total DSP", "per MAC DSP", "per total DSP")} == {"–"}


def test_break_even_power_against_the_least_published_energy():
    """CoQMoE: 9.83 W times 6.47 ms."""
    rows = [FIGURES, {**FIGURES, "batch": 4, "ms": 4.0}, {**FIGURES, "network": "deit_tiny"}]
    energy = document(rows).partition("## Energy, without a board")[2].partition("\n## ")[0]
    assert "63.6 mJ: CoQMoE's 9.83 W" in energy and "296.2 mJ (UbiMoE) and 503.7 mJ (Edge-MoE)" in energy
    assert cells(energy, "m3vit_tiny", "zcu104")["break-even, W"] == "31.8"
    batch = cells(energy, "m3vit_tiny, batch 4", "zcu104")
    assert (batch["ms per image"], batch["break-even, W"]) == ("1.00", "63.6")
    assert "deit_tiny" not in energy


def test_one_row_and_the_quickest_are_not_both():
    done = CliRunner().invoke(app, ["bench", "--fast", "--row", "m3vit_tiny-zcu104"])
    assert done.exit_code == 2 and "leave out --row" in done.output


def test_a_place_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        assert CliRunner().invoke(app, ["bench", "--fast", "-o", str(place)]).exit_code == 2


def test_a_difference_is_shouted():
    assert "**different**" in document([{**FIGURES, "bit_exact": False}])


def test_the_memory_can_be_the_bound():
    assert "500,000 (memory) | 83%" in document([{**FIGURES, "ddr_bound_cycles": 500_000}])


def test_readme_table():
    before = ("# x\n\n<!-- Written by `make bench`; do not edit. -->\nold\n<!-- End of what `make bench` writes. -->\n"
              "\nafter\n")
    after = readme_with(before, [FIGURES, {**FIGURES, "batch": 4}])
    assert "old" not in after and after.startswith("# x\n") and after.endswith("\n\nafter\n")
    assert "| m3vit_tiny | zcu104 (32x64) | 600,000 | 2.00 | 64% (compute) | all equal |" in after
    assert "m3vit_tiny, batch 4" in after
    assert readme_with(after, [FIGURES, {**FIGURES, "batch": 4}]) == after


@pytest.mark.parametrize("make", [lambda path: gantt(frame(), path), lambda path: where_cycles_went(
    [frame(), frame(batch=4)], path)])
def test_pictures(make, tmp_path):
    make(tmp_path / "picture.png")
    pixels = plt.imread(tmp_path / "picture.png")
    assert pixels.shape[0] > 100 and len({tuple(pixel) for pixel in pixels[::7, ::7, :3].reshape(-1, 3)}) > 5
