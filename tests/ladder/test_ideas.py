# SPDX-License-Identifier: Apache-2.0
"""The five ideas of Edge-MoE (ICCAD'23), each as a measured property of the machine."""

import re
from collections import Counter
from dataclasses import replace
from math import erf
from pathlib import Path

import numpy as np
import pytest

from moevit.estimator.estimate import shape_steps, usual_loads
from moevit.golden.integer.gelu import gelu
from moevit.rtl_gen.machine import machine_rtl
from moevit.sim.verilator.records import beat_counts
from moevit.spec import tables
from moevit.spec.isa import Opcode, Region, decode
from moevit.spec.networks import NETWORKS
from moevit.spec.trace import TraceKind

from ..conftest import model_of, random_image
from .conftest import config_of


def test_attention_reads_one_row_word_a_cycle_whatever_the_width(pair):
    """With three array widths, an attention pass reads a row-memory word (k_lanes x s16) per array cycle, and no bus
    beats.

    8x8 and 8x16 read the same bytes a cycle for 64 and 128 multiply-accumulates a cycle. 16x16 has wider rows.
    """
    per_cycle = {}
    for name in ("8x8", "8x16", "16x16"):
        both, config = pair(model_of("tiny_test"), name), config_of(name)
        both.run(random_image("tiny_test"), "depth")
        program = np.frombuffer(both.rtl.bundle.program, "<u4").reshape(-1, 16)
        fields = [decode(words) for words in program]
        attention = [pc for pc, entry in enumerate(both.names) if ".logit." in entry or ".mix." in entry]
        assert attention and all(fields[pc]["region"] == Region.NONE for pc in attention)
        words = sum(done.rows * fields[done.pc]["k_tiles"] * fields[done.pc]["n_tiles"]
                    * (config.gate_sweeps if fields[done.pc]["digits"] else 1)
                    for done in both.golden_device.last.finished if fields[done.pc]["opcode"] == Opcode.PASS)
        # The RTL counts the cycles in which a row enters the array. Each reads exactly one word.
        counters = both.rtl.report.counters
        assert counters["BUSY"] == words
        assert counters["MACS"] == words * config.macs_per_cycle
        per_cycle[name] = words * 2 * config.k_lanes / counters["BUSY"]
    assert per_cycle["8x8"] == per_cycle["8x16"] == per_cycle["16x16"] / 2


def test_logits_are_written_once_and_read_once(pair):
    both, config = pair(model_of("tiny_test"), "8x8"), config_of("8x8")
    both.run(random_image("tiny_test"), "depth")
    finished, network = both.golden_device.last.finished, both.rtl.bundle.manifest["network"]
    tokens = both.rtl.bundle.manifest["output"]["tokens"]
    words = tokens * -(-tokens // config.k_lanes)
    trace = both.board.trace()
    program = np.frombuffer(both.rtl.bundle.program, "<u4").reshape(-1, 16)
    for sequence, done in enumerate(finished):
        if ".logit." in both.names[done.pc]:
            written = trace[(trace["sequence"] == sequence) & (trace["kind"] == TraceKind.HIDDEN)]
            assert len(written) == len(np.unique(written["address"])) == words
        if ".mix." in both.names[done.pc]:
            fields = decode(program[done.pc])
            assert fields["rows"] * fields["k_tiles"] == words  # per n-tile of values
            head_dim = network["dim"] // network["heads"]
            assert fields["n_tiles"] == -(-head_dim // config.n_lanes)


def test_logits_are_read_once_where_a_head_is_one_tile():
    """A head's 32 or 64 values on 32x64 and 64x64 lie in one n-tile, so each logit is read exactly once.

    On 32x64, 32 values take half of a tile, which is two words.
    """
    for network, name, tiles in (("m3vit_tiny", "32x64", 3), ("m3vit_tiny", "64x64", 3), ("m3vit_small", "32x64", 6)):
        steps = shape_steps(NETWORKS[network], config_of(name), 1, usual_loads(NETWORKS[network], 1)[1])
        assert {step.fields["n_tiles"] for step in steps if ".mix." in step.name} == {1}
        assert {step.fields["n_tiles"] for step in steps if step.name.endswith(".attn.value")} == {tiles}


def test_gelu_is_within_2e_3_for_every_input_and_its_table_is_generated():
    x = np.arange(-32768, 32768)
    real = x / 512
    exact = real * 0.5 * (1 + np.vectorize(erf)(real / np.sqrt(2)))
    assert np.abs(gelu(x) / 512 - exact).max() <= 2e-3
    numbers = {str(value) for value in tables.gelu_delta_table() if value > 99}
    for path in (Path(__file__).parents[2] / "hw").rglob("*.py"):
        assert not numbers & set(re.findall(r"\b\d{3}\b", path.read_text())) - {"127", "128", "255", "256"}, path


def multipliers(name: str, **choices: int) -> Counter[str]:
    """Multiplications in the generated Verilog, by unit of the top.

    Products with a constant power of two are only wires (selections of a word) and do not count.
    """
    core = f"moevit_{name}_core"
    text = machine_rtl(replace(config_of(name), **choices), trace=False).files[f"{core}.v"]
    modules = {module.split("(")[0].strip().lstrip("\\"): re.sub(r"\(\*.*?\*\)", "", module)
               for module in re.split(r"^module ", text, flags=re.M)[1:]}
    instances = {parent: re.findall(r"^  \\?(\S+)\s+\\?(\w+)\s*\($", module, flags=re.M)
                 for parent, module in modules.items()}

    def within(module: str) -> int:
        """Equal modules are written once and instantiated several times."""
        own = len(re.findall(r" \* (?!\d+'h[1248]0*;)", modules[module]))
        return own + sum(within(kind) for kind, _ in instances[module])

    return Counter({unit: within(kind) for kind, unit in instances[core]})


def test_one_unit_has_the_matrix_multipliers():
    """The compute unit has one packed multiplier per two weights of a tile.

    All other units together have a few per row lane, and no more if the array doubles. The second word of a NORM has
    one per row lane, the third has none.
    """
    narrow, wide = multipliers("8x8"), multipliers("8x16", norm_words=1)
    assert narrow.pop("compute") == 8 * 8 // 2 and wide.pop("compute") == 8 * 16 // 2
    for words in (2, 3):
        assert multipliers("8x16", norm_words=words)["reader"] == wide["reader"] + 8
    assert wide.total() <= narrow.total()
    lanes = {unit: count for unit, count in narrow.items() if count >= 8}
    assert set(lanes) == {"reader", "writer"}, lanes
    assert lanes["reader"] <= 2 * 8 + 10 and lanes["writer"] <= 3 * 8 + 2  # per row lane, plus a few per row


@pytest.mark.parametrize("task", ["semseg", "depth"])
@pytest.mark.parametrize("speculate", [0, 2])
def test_active_experts_are_fetched_once_and_idle_ones_never(pair, task, speculate):
    """An idle expert is fetched at most once if it may be fetched early, otherwise never."""
    model, config = model_of("tiny_test"), config_of("8x8")
    both = pair(model, "8x8", speculate=speculate)
    both.run(random_image("tiny_test"), task)
    bursts = both.board.bursts()
    reads = beat_counts(bursts, config.bus_bytes, both.rtl.addresses["weights"], len(both.rtl.bundle.weights))
    order = model["blocks.1.moe.order"].tolist()
    active = {order.index(expert) for expert in both.rtl.report.expert_rows[1]}
    experts = both.rtl.bundle.manifest["network"]["experts"]
    assert 0 < len(active) <= experts
    program = np.frombuffer(both.rtl.bundle.program, "<u4").reshape(-1, 16)
    expert_beats = np.zeros(len(reads), bool)
    for words in program:
        fields = decode(words)
        if not fields.get("expert_beats"):
            continue
        for expert in range(experts):
            start = fields["region_offset"] // config.bus_bytes + expert * fields["expert_beats"]
            part = slice(start, start + fields["region_beats"])
            expert_beats[part] = True
            assert set(reads[part]) <= ({1} if expert in active else {0, 1} if expert < speculate else {0}), expert
    assert (reads[:len(both.rtl.bundle.weights) // config.bus_bytes][~expert_beats[:len(
        both.rtl.bundle.weights) // config.bus_bytes]] == 1).all()
