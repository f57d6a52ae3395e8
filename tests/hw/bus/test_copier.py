# SPDX-License-Identifier: Apache-2.0
"""Registers and bus masters behind the generated wrapper, between the AXI models of cocotbext-axi."""

import subprocess
from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results

from moevit.rtl_gen.generate import generate
from moevit.sim.verilator.build import build, tail
from moevit.spec.arrays import CONFIGS

HERE = Path(__file__).parent
# The models want ID signals; the machine has a single ID and its wrapper none.
IDS = {"m_axi_awid": "output", "m_axi_bid": "input ", "m_axi_arid": "output", "m_axi_rid": "input "}


def with_ids(wrapper):
    ports = "".join(f"    {direction} wire {name},\n" for name, direction in IDS.items())
    ties = "".join(f"    assign {name} = 1'b0;\n" for name, direction in IDS.items() if direction == "output")
    return wrapper.replace("(\n", f"(\n{ports}", 1).replace("\n);\n", f"\n);\n{ties}", 1)


@pytest.fixture
def simulate(monkeypatch, tmp_path):
    """``simulate(config, seed)``: all tests of ``copier_bench`` in one simulator."""
    monkeypatch.syspath_prepend(HERE)

    def run(config, seed):
        from copier import Copier

        rtl = generate(Copier(CONFIGS[config]), "copier")
        files = {name: text for name, text in rtl.files.items() if name.endswith(".v")}
        files["copier.v"] = with_ids(files["copier.v"])
        simulation = build(files, "copier", [*(port.name for port in rtl.table.ports), *IDS], options=["-Wno-fatal"])
        log, results = tmp_path / "simulator.log", tmp_path / "results.xml"
        with open(log, "wb") as file:
            subprocess.run(simulation.command({}), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=file,
                           stderr=subprocess.STDOUT, timeout=300, check=False, env={
                               **simulation.environment("copier_bench", seed), "COPIER_CONFIG": config,
                               "COPIER_SEED": str(seed), "COCOTB_RESULTS_FILE": str(results)})
        assert results.exists(), tail(log, 60)
        tests, failed = get_results(results)
        assert tests and not failed, f"seed {seed}: {failed} of {tests} failed\n{tail(log, 150)}"

    return run


@pytest.mark.parametrize(("config", "seed"), [("8x8", 1), ("8x16", 2), ("8x8", 3)])
def test_the_copier_on_the_bus(simulate, config, seed):
    simulate(config, seed)
