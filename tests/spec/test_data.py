# SPDX-License-Identifier: Apache-2.0
"""Networks, configurations, registers, tables: declarations that must hold together."""

import dataclasses
import json

import numpy as np
import pytest

from moevit.spec import tables
from moevit.spec.arrays import CONFIGS, ConfigError
from moevit.spec.networks import NETWORKS, Network, NetworkError
from moevit.spec.registers import APERTURE, PASS_LOG, REGISTERS, pack_log, unpack_log

from ..configs import TEST_CONFIGS


def test_m3vit_tiny_has_the_published_size():
    network = NETWORKS["m3vit_tiny"]
    assert (network.tokens, network.patch_values, network.head_dim) == (129, 768, 64)


def test_moe_blocks():
    network = NETWORKS["m3vit_tiny"]
    assert [block for block in range(12) if network.is_moe(block)] == [1, 3, 5, 7, 9, 11]
    last = dataclasses.replace(network, moe_blocks=(0, 11))
    assert [block for block in range(12) if last.is_moe(block)] == [0, 11]
    assert not any(map(NETWORKS["deit_tiny"].is_moe, range(12)))


def test_a_network_from_json():
    """Fields that have a default may be missing; no other, and none may be unknown."""
    fields = json.loads(json.dumps(dataclasses.asdict(NETWORKS["demo"])))
    assert Network.from_fields(fields) == NETWORKS["demo"]
    assert Network.from_fields({name: value for name, value in fields.items() if name != "tasks"}).tasks == ("tokens",)
    with pytest.raises(NetworkError, match="lacks dim, heads"):
        Network.from_fields({name: value for name, value in fields.items() if name not in ("dim", "heads")})
    with pytest.raises(NetworkError, match="has no windows"):
        Network.from_fields({**fields, "windows": 7})
    with pytest.raises(NetworkError, match="an object with fields, not list"):
        Network.from_fields([])


@pytest.mark.parametrize("patch, cell", [(8, 8), (14, 16), (16, 16), (17, 24)])
def test_cells(patch, cell):
    network = dataclasses.replace(NETWORKS["deit_tiny"], height=2 * patch, width=3 * patch, patch=patch)
    assert (network.cell, network.cell_values, network.patches) == (cell, 3 * cell * cell, 6)


def test_the_same_network_for_other_images():
    network = NETWORKS["m3vit_small"].for_image(480, 640)
    assert (network.tokens, network.name) == (1201, "m3vit_small_480x640")
    assert dataclasses.replace(network, name="m3vit_small", height=128, width=256) == NETWORKS["m3vit_small"]
    with pytest.raises(NetworkError, match="not a multiple of patch"):
        network.for_image(480, 650)


@pytest.mark.parametrize("change, message", [
    ({"height": 100}, "not a multiple of patch"), ({"heads": 5}, "not a multiple of heads"),
    ({"top_k": 17}, "top_k must be"), ({"dim": 0}, "dim must be an integer of 1"), ({"tasks": ()}, "tasks must be"),
    ({"experts": 0}, "must be 0 without experts"), ({"prefix_tokens": 17}, "prefix_tokens must be .* 0..16, not 17"),
    ({"expert_hidden": 0}, "expert_hidden must be positive"), ({"depth": 1025}, "depth must be .* 1..1024, not 1025"),
    ({"experts": True}, "experts must be .* not True"), ({"hidden": 10**9}, "hidden must be"), ({"name": 7}, "be text"),
    ({"tasks": ("a", 1)}, "tasks must be names"), ({"final_norm": 1}, "final_norm must be true or false, not 1"),
    ({"norm_eps": float("nan")}, "norm_eps must be"), ({"activation": "silu"}, "activation must be one of gelu, "),
    ({"gate": "tanh"}, "gate must be one of softmax, sigmoid"), ({"moe_blocks": (3, 1)}, "must rise within 0..11"),
    ({"moe_blocks": (12,)}, "must rise within 0..11"), ({"moe_blocks": ()}, "16 experts in 0 blocks"),
    ({"moe_blocks": [1]}, "must be numbers of blocks"), ({"select_bias": 1}, "select_bias must be true or false"),
    ({"experts": 0, "top_k": 0, "expert_hidden": 0, "shared_hidden": 64}, "shared_hidden must be 0 without experts"),
])
def test_contradictory_network_is_refused(change, message):
    with pytest.raises(NetworkError, match=message):
        dataclasses.replace(NETWORKS["m3vit_tiny"], **change)


@pytest.mark.parametrize("change, message", [
    ({"k_lanes": 12}, "power of two"), ({"k_lanes": 4}, "8..64"), ({"n_lanes": 64}, "twice"),
    ({"max_experts": 99}, "max_experts"), ({"prefetch_beats": 16}, "two bursts of 16"),
    ({"bus_beats": 2, "prefetch_beats": 32}, "two bursts of 32"), ({"bus_beats": 3}, "1 or 2"),
    ({"norm_words": 4}, "norm_words must be 1, 2 or 3"),
    ({"tile_beats": 3}, "power of two"), ({"tile_beats": 1}, "2..k_lanes / 4.* not 1"),
    ({"tile_beats": 8}, "2..k_lanes / 4.* not 8"),
    ({"bus_beats": 2, "n_lanes": 32}, "row-memory word of 32, not 64"),
    ({"bus_beats": 2, "k_lanes": 64, "n_lanes": 64}, "more than 64 bytes .* not 128"),
    ({"program_length": 0}, "1..8191, not 0"), ({"program_length": 8192}, "1..8191, not 8192"),
    ({"ports": 3}, "power of two"), ({"ports": 4}, "8 or 16 bytes wide each, not 4 ports of 4 bytes"),
])
def test_impossible_config_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CONFIGS["16x16"], **change)


def test_an_entry_of_the_pass_log():
    word = pack_log(pc=6338, expert=13, rows=151)
    assert word == 6338 << 19 | 13 << 12 | 151
    assert unpack_log(word) == {"pc": 6338, "expert": 13, "rows": 151}


def test_hash_names_the_hardware():
    hashes = {config.hash for config in CONFIGS.values()}
    assert len(hashes) == len(CONFIGS)
    config = CONFIGS["8x8"]
    assert dataclasses.replace(config, packed=False, trace=True).hash == config.hash
    assert dataclasses.replace(config, kv_words=1024).hash != config.hash
    assert dataclasses.replace(config, bus_beats=2).hash != config.hash
    assert dataclasses.replace(config, norm_words=2).hash != config.hash
    assert dataclasses.replace(CONFIGS["64x64"], tile_beats=2).hash != CONFIGS["64x64"].hash
    assert dataclasses.replace(CONFIGS["32x32"], ports=1).hash != CONFIGS["32x32"].hash


def test_words_are_whole_beats():
    shapes = {name: (c.beat_bytes, c.bus_bytes, c.word_beats, c.word_bus_beats) for name, c in TEST_CONFIGS.items()}
    assert shapes == {"8x8": (8, 8, 2, 2), "8x16": (16, 16, 1, 1), "16x16": (16, 16, 2, 2), "32x32": (32, 64, 2, 1),
                      "32x64": (64, 64, 1, 1), "64x64": (64, 64, 2, 2), "32x64_long": (64, 64, 1, 1),
                      "8x8_wide": (8, 16, 2, 1), "16x16_four": (16, 16, 2, 2), "8x16_pairs": (16, 16, 1, 1)}


def test_registers_are_apart_and_inside():
    offsets = [register.offset for register in REGISTERS]
    assert len(set(offsets)) == len(offsets) and all(o % 4 == 0 and o < PASS_LOG < APERTURE for o in offsets)
    assert len({register.name for register in REGISTERS}) == len(REGISTERS)


@pytest.mark.parametrize("name, bits", [
    ("quantiser_table", 16), ("exp2_table", 10), ("exp2_wide_table", 16), ("reciprocal_table", 16),
    ("rsqrt_table", 16), ("gelu_delta_table", 9),
])
def test_tables_fit_and_cannot_be_changed(name, bits):
    table = getattr(tables, name)()
    assert table.min() >= 0 and table.max() < 1 << bits
    with pytest.raises(ValueError):
        table[0] = 1
    np.testing.assert_array_equal(table, getattr(tables, name)())
