# SPDX-License-Identifier: Apache-2.0
"""Estimates against figures counted independently: multiply-accumulates and bytes by formula, memories by Yosys."""

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from moevit.compiler.deadline import deadline_cycles
from moevit.compiler.plan import DoesNotFit, Plan
from moevit.estimator.estimate import estimate, shape_steps, usual_loads
from moevit.estimator.onchip import dsp_slices, on_chip, shortages
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS
from moevit.spec.networks import NETWORKS
from moevit.spec.parts import Part
from moevit.spec.quantised import QuantisedModel, tensor_shapes

from ..conftest import model_of

AREA = Path(__file__).resolve().parents[2] / "docs" / "area.md"


@pytest.mark.parametrize("name, config", [("m3vit_tiny", "32x64"), ("m3vit_small", "64x64"), ("deit_tiny", "32x32"),
                                          ("demo", "16x16")])
def test_multiply_accumulates(name, config):
    multiply_accumulates(NETWORKS[name], CONFIGS[config])


@pytest.mark.parametrize("changes", [{"prefix_tokens": 5, "moe_blocks": (0, 10, 11)}, {"shared_hidden": 200},
                                     {"task_fc2": True, "moe_blocks": tuple(range(12))},
                                     {"patch": 14, "height": 112, "width": 224}], ids=str)
def test_multiply_accumulates_of_any_network(changes):
    multiply_accumulates(replace(NETWORKS["m3vit_tiny"], name="changed", **changes), CONFIGS["32x64"])


def multiply_accumulates(n, config):
    """Per block 4ND^2 + 2N^2D, dense 2NDH, experts k 2NDH, shared 2NDS, gate NDE; patches (N - prefix) x 3P^2 x D."""
    tokens, dim = n.tokens, n.dim
    want = n.patches * n.patch_values * dim
    for block in range(n.depth):
        want += 4 * tokens * dim**2 + 2 * tokens**2 * dim
        experts = n.top_k * 2 * n.expert_hidden + 2 * n.shared_hidden + n.experts
        want += tokens * dim * (experts if n.is_moe(block) else 2 * n.hidden)
    assert estimate(n, config).macs == want


def test_bytes_of_all_experts():
    """Weights of m3vit_tiny are 17.96 MB; scales, biases, positions, gains, program and image come on top."""
    network = NETWORKS["m3vit_tiny"]
    everywhere = {block: [17] * 14 + [10] * 2 for block in range(network.depth) if network.is_moe(block)}
    found = estimate(network, CONFIGS["32x64"], loads=everywhere, speculate={})
    assert 17.96e6 < found.bytes_read < 1.03 * 17.96e6 + 3 * 128 * 256
    assert found.bound == max(found.memory_bound, found.compute_bound) < found.cycles


def test_idle_experts_are_not_read():
    network = NETWORKS["m3vit_tiny"]
    counts = [estimate(network, CONFIGS["32x64"], loads={
        block: [258 // active] * active + [0] * (16 - active) for block in range(1, 12, 2)},
        speculate={}).bytes_read for active in (4, 8)]
    expert = 2 * network.dim * network.expert_hidden
    assert counts[1] - counts[0] >= 6 * 4 * expert


@pytest.mark.parametrize("image", [(256, 256), (384, 384), (480, 640)])
def test_loads_of_a_long_sequence_are_shared_out_among_its_row_ranges(image):
    network, config = NETWORKS["m3vit_small"].for_image(*image), CONFIGS["32x64_long"]
    plan = Plan(network, config)
    timing = estimate(network, config).timing
    for block, loads in usual_loads(network, 1)[0].items():
        passes = [each for each in timing.passes if (each.block, each.part) == (block, Part.EXPERT_FC1)]
        by_rows = [list(group) for _, group in groupby(passes, key=lambda each: each.pc)]
        assert len(by_rows) == len(plan.moe)
        for part, group in zip(plan.moe, by_rows, strict=True):
            assert sum(each.rows for each in group) == part.length * network.top_k
            assert max(each.rows for each in group) <= part.length
        assert [sum(each.rows for each in passes if each.expert == expert) for expert in range(16)] == loads


@pytest.mark.parametrize("name, config, batch", [("tiny_test", "8x8", 3), ("m3vit_tiny", "32x64", 1),
                                                 ("deit_tiny", "32x64", 1)])
def test_no_board_takes_as_long_as_the_deadline_says(name, config, batch):
    """Not even with the weights of every expert, a third of the bandwidth, and a latency of 300 cycles."""
    network, config = NETWORKS[name], CONFIGS[config]
    slow = replace(BOARDS["zcu104"], memory_gbs=config.bus_bytes * 0.3, usable=1.0, clock_mhz=1000)
    steps = shape_steps(network, config, batch, usual_loads(network, batch)[1])
    cycles = deadline_cycles(steps, network, config, batch)
    assert slow.bandwidth(config) == pytest.approx(0.3)
    predicted = estimate(network, config, slow, batch=batch, read_latency=300).cycles
    assert predicted < cycles < 20 * predicted


def sized(name, residual, hidden, kv, stream):
    return replace(CONFIGS[name], max_tokens=256, residual_words=residual, hidden_words=hidden, kv_words=kv,
                   prefetch_beats=stream, norm_words=1)


@pytest.mark.parametrize("config, uram, found", [
    (sized("16x16", 4096, 8192, 4096, 512), 96, (27, 19)), (sized("32x32", 6144, 12288, 8192, 2048), 96, (41, 61)),
    (sized("16x16", 4096, 8192, 4096, 512), 0, (164, 0))])
def test_on_chip_memory_is_about_what_yosys_finds(config, uram, found):
    """Counted by `make synth` (pyosys 0.70; docs/area.md): BRAM36, URAM, which holds eight times as much as a BRAM36.

    A NORM took one word a cycle."""
    bram, ultra = found
    memories = on_chip(config, uram)
    assert abs(sum(each.bram36 + 8 * each.uram for each in memories) / (bram + 8 * ultra) - 1) <= 0.15


def test_dsp_slices_are_what_yosys_counted():
    """Of every board, in docs/area.md."""
    counted = re.findall(r"^\| [\w-]+ \| (\w+) \| ([\d,]+) of ", AREA.read_text(), re.MULTILINE)
    assert {board.config for board in BOARDS.values()} <= {name for name, _ in counted}
    for name, slices in counted:
        assert dsp_slices(CONFIGS[name]) == int(slices.replace(",", "")), name


def test_a_quantised_model_says_what_is_fetched_early_and_added_up_in_parts():
    model = model_of("tiny_test")
    shape, config = estimate(model.network, CONFIGS["8x8"], loads={1: [9, 9, 0, 0]}, speculate={1: 3}), CONFIGS["8x8"]
    model = replace(model, tensors={**model.tensors, "blocks.1.moe.speculate": np.uint8(3)})
    own = estimate(model, config, loads={1: [9, 9, 0, 0]})
    assert (own.cycles, own.bytes_read) == (shape.cycles, shape.bytes_read)
    none = estimate(model, config, loads={1: [9, 9, 0, 0]}, speculate={})
    assert none.cycles > own.cycles

    network = replace(NETWORKS["deit_tiny"], name="long", depth=1, hidden=4096)
    tensors = {name: np.zeros(shape, dtype) for name, (shape, dtype) in tensor_shapes(network).items()}
    plain = QuantisedModel(network, tensors, 8)
    split = QuantisedModel(network, {**tensors, "blocks.0.mlp.fc2.weight": np.full((192, 4096), 127, np.int8)}, 8)
    assert estimate(plain, CONFIGS["32x64"]).cycles == estimate(network, CONFIGS["32x64"]).cycles
    assert 0 < estimate(split, CONFIGS["32x64"]).cycles - estimate(plain, CONFIGS["32x64"]).cycles < 5000
    names = [each.name for each in estimate(split, CONFIGS["32x64"]).timing.passes]
    assert names.count("blocks.0.mlp.fc2") == names.count("blocks.0.mlp.fc2[1]") == 3  # row ranges


def test_positions_of_one_image_name_no_copies():
    for batch in (1, 2):
        (fields,) = (step.fields for step in shape_steps(NETWORKS["tiny_test"], CONFIGS["8x8"], batch, {})
                     if step.name == "position")
        assert fields.get("copies", 0) == batch - 1
        assert ("destination_stride" in fields) == (batch > 1)


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_every_class_fits_its_board(board):
    assert not shortages(CONFIGS[board.config], board)


@pytest.mark.parametrize("name", ["32x64", "64x64"])
def test_most_multipliers_are_the_arrays(name):
    array = CONFIGS[name].macs_per_cycle // 2
    assert dsp_slices(CONFIGS[name]) - array <= 0.2 * array


def blocks(config, board):
    memories = on_chip(config, board.uram)
    return sum(each.bram36 for each in memories), sum(each.uram for each in memories)


@pytest.mark.parametrize("name, board", [("32x32", "kv260"), ("32x64", "zcu104"), ("64x64", "zcu102"),
                                         ("32x64_long", "zcu104")])
def test_words_of_a_norm(name, board):
    """Two: no block more than with one word, a multiplier a lane more. Three: no more multipliers."""
    config, board = CONFIGS[name], BOARDS[board]
    one, two, three = (replace(config, norm_words=words) for words in (1, 2, 3))
    assert blocks(two, board) <= blocks(one, board)
    assert dsp_slices(three) == dsp_slices(two) == dsp_slices(one) + config.k_lanes
    assert config == (three if name == "64x64" else two)
    assert not shortages(three, board)


def test_ultraram_where_it_replaces_most():
    """A copy of the residual rows for each reader: one in UltraRAMs, one in block RAMs."""
    memories = {each.name: each for each in on_chip(replace(CONFIGS["32x64"], norm_words=3), BOARDS["zcu104"].uram)}
    assert {name for name, each in memories.items() if each.uram} == {
        "prefetch", "hidden rows", "keys and values", "residual rows, reader"}
    assert memories["residual rows, writer"].bram36 == 90


def test_queue_of_sums():
    """Two words a row: a FIFO for half of the rows. Yosys makes 24 RAMB36E2 of a SyncFIFOBuffered of 1,728 x 512."""
    sums = {name: next(each for each in on_chip(config) if each.name == "sums") for name, config in CONFIGS.items()}
    assert (sums["32x64"].width, sums["32x64"].depth, sums["32x64"].bram36) == (1728, 512, 24)
    assert {name for name, each in sums.items() if each.bram36} == {"32x64", "32x64_long"}


def test_multipliers_wider_than_a_slice_are_a_shortage():
    assert shortages(CONFIGS["8x8"], BOARDS["pynq-z2"]) == [
        "multipliers of 27 x 18 bits, pynq-z2 has 25 x 18: take a configuration with dsp48e1 (16x16)"]
    assert not shortages(replace(CONFIGS["8x8"], packed=False), BOARDS["pynq-z2"])
    assert not shortages(CONFIGS["8x8"], BOARDS["ultra96v2"])


def test_shortages_name_the_budget():
    reasons = shortages(CONFIGS["64x64"], BOARDS["kv260"])
    assert any(re.match(r"DSP: needs \d+, kv260 has 1248", reason) for reason in reasons)


def test_a_network_that_does_not_fit():
    with pytest.raises(DoesNotFit):
        estimate(NETWORKS["m3vit_small"], CONFIGS["8x8"])
    long, short = NETWORKS["m3vit_small"].for_image(480, 640), replace(CONFIGS["32x64_long"], program_length=2048)
    with pytest.raises(DoesNotFit, match="m3vit_small_480x640 needs 6339 instructions, 32x64_long holds 2048"):
        estimate(long, short)
