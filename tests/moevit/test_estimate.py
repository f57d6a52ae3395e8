# SPDX-License-Identifier: Apache-2.0
"""``moevit estimate``: one array in detail, or every board in a table."""

import re

import pytest
import torch
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.cli.boards import NO_LUTS, best, candidates, mark, percent
from moevit.estimator.estimate import estimate
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load_state, save
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.networks import NETWORKS, Network

from ..conftest import model_of

VIT = Network(name="vit", height=28, width=42, patch=14, dim=32, heads=2, depth=2, hidden=64, final_norm=True)


@pytest.mark.parametrize("wrong", [("--batch", "0"), ("--latency", "1"), ("--image", "99984x99984"),
                                   ("--clock", "0"), ("--clock", "9.9"), ("--clock", "501"), ("--clock", "nan"),
                                   ("--clock", "fast"), ("--clock", "100")], ids=" ".join)
def test_command_refuses_what_is_out_of_range(wrong):
    result = run("tiny_test", "--config", "8x8", *wrong)
    assert result.exit_code == 2 and "Invalid value" in result.output


def run(*arguments):
    return CliRunner().invoke(app, ["estimate", *arguments])


def test_command():
    done = run("m3vit_tiny", "--board", "zcu104")
    assert done.exit_code == 0, done.output
    assert "32x64" in done.output and "ms at 300 MHz (assumed)" in done.output and "memory bound" in done.output
    assert "zcu104 has" in done.output and NO_LUTS in done.output


def test_command_says_what_does_not_fit():
    done = run("m3vit_small", "--config", "16x16")
    assert done.exit_code == 1 and "does not fit" in done.output and "residual memory words" in done.output
    done = run("m3vit_tiny", "--config", "64x64", "--board", "kv260")
    assert done.exit_code == 1 and "does not fit: DSP" in done.output
    assert "cycles (predicted)" in done.output


def test_command_for_an_image_of_another_size():
    done = run("m3vit_small", "--board", "zcu104", "--config", "32x64_long", "--image", "480x640")
    assert done.exit_code == 0, done.output
    assert "m3vit_small_480x640" in done.output
    for image in ("480x641", "480", "0x16"):
        assert run("m3vit_small", "--board", "zcu104", "--image", image).exit_code == 2


@pytest.mark.parametrize("arguments", [["nothing", "--board", "zcu104"], ["demo", "--board", "nothing"],
                                       ["demo", "--config", "9x9"]])
def test_command_refuses(arguments):
    assert run(*arguments).exit_code == 2


def test_every_board_in_one_table():
    done = run("deit_small")
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line for line in done.output.splitlines() if line.split() and line.split()[0] in BOARDS}
    assert set(rows) == set(BOARDS)
    assert " none" in rows["pynq-z2"] and "does not fit 16x16" in done.output and "none does on pynq-z2" in done.output
    for board in ("kv260", "zcu104", "zcu102"):
        cycles = estimate(NETWORKS["deit_small"], CONFIGS[BOARDS[board].config], BOARDS[board]).cycles
        assert f"{cycles:,}" in rows[board] and f"% of {BOARDS[board].dsp}" in rows[board]
    assert "100% of 64!" in rows["kv260"] and "clocks assumed" in done.output
    assert NO_LUTS in done.output
    last = done.output.splitlines()[-1]
    assert last.startswith("fits best: zcu102 with 64x64") and last.endswith("nearly full: BRAM36 86%, DSP 97%")


def test_one_clock_for_every_board():
    """A slower clock gives more bytes per cycle, so a frame takes fewer cycles."""
    done = run("m3vit_tiny", "--clock", "150")
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line.split() for line in done.output.splitlines()
            if line.split() and line.split()[0] in BOARDS}
    assert {row[2] for row in rows.values()} == {"150"} and "ms at 150 MHz (assumed)" in done.output
    slow, usual = (estimate(NETWORKS["m3vit_tiny"], CONFIGS["64x64"], BOARDS["zcu102"].at(clock))
                   for clock in (150, None))
    assert slow.cycles < usual.cycles and slow.memory_bound < usual.memory_bound
    assert slow.compute_bound == usual.compute_bound
    assert rows["zcu102"][3:5] == [f"{slow.cycles:,}", f"{slow.cycles / 150e3:.2f}"]
    one = run("m3vit_tiny", "--board", "zcu102", "--clock", "150")
    assert "ms at 150 MHz (assumed)" in one.output and f"{slow.cycles:,}" in one.output


def test_marks_need_no_colour():
    assert [mark(used, 100) for used in (80, 80.5, 100, 100.5)] == ["", "!", "!", "!!"] and mark(1, 0) == "!!"
    assert [percent(used, 200) for used in (160, 199.5, 200, 200.5)] == ["80%", "99%", "100%", "101%"]
    done = run("m3vit_tiny", "--config", "64x64", "--board", "kv260")
    assert "196% of 1248!!" in done.output and "100% of 64!" in done.output


def test_the_best_has_room_where_one_has():
    """The demo network fits every board. The zcu102 is fastest, but almost all of its slices are used."""
    found = candidates(NETWORKS["demo"])
    soonest = min(found, key=lambda each: each.milliseconds)
    chosen = best(found)
    assert soonest.tight and not chosen.tight and chosen.milliseconds > soonest.milliseconds
    assert best([each for each in found if each.tight]) == min((each for each in found if each.tight),
                                                               key=lambda each: each.milliseconds)
    assert best([]) is None


def test_a_board_takes_another_array_where_its_own_is_too_small():
    found = {each.board.name: each for each in candidates(NETWORKS["m3vit_small"].for_image(480, 640))}
    assert found["zcu104"].found.config.name == "32x64_long" and "32x64_long does on zcu104" in found["zcu104"].reason
    assert found["pynq-z2"].found is None


def test_files(tmp_path):
    model_of("tiny_test").save(tmp_path / "tiny.npz")
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(VIT, 1).items()}
    save(tmp_path / "vit.safetensors", load_state(VIT, tensors))
    for file, tokens in (("tiny.npz", NETWORKS["tiny_test"].tokens), ("vit.safetensors", VIT.tokens)):
        done = run(str(tmp_path / file))
        assert done.exit_code == 0 and f"({tokens} tokens)" in done.output, done.output
    assert run(str(tmp_path / "tiny.npz"), "--config", "8x8").exit_code == 0
    (tmp_path / "other").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for file in (tmp_path / "other", __file__):
        done = run(str(file))
        assert done.exit_code == 1 and "moevit import" in done.output
    done = run(str(tmp_path))
    assert done.exit_code == 1 and re.search("[Dd]irectory", done.output)
