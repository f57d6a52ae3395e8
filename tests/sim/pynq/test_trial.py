# SPDX-License-Identifier: Apache-2.0
"""The whole board path without a board: pynq, driver, runtime, AXI, RTL; runs, task switches, faults."""

import copy
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from moevit.cli import board_sim as command_module
from moevit.cli.app import app
from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.host.runtime import Accelerator
from moevit.sim.board.simulated_board import SimulatedBoard
from moevit.sim.pynq import trial as board_sim
from moevit.sim.pynq.device import simulated_overlay
from moevit.sim.pynq.faults import FAULTS
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import REGISTERS

from ...conftest import model_of, random_image

pytestmark = pytest.mark.timeout(900)  # the first build of a simulation


def measured(name, config, runs):
    model, image = model_of(name), random_image(name)
    expected = {task: IntegerModel(model).run(image, index).tokens.astype(np.int16)
                for index, task in enumerate(model.network.tasks)}
    told = []
    with SimulatedBoard(CONFIGS[config]) as board:
        result = board_sim.measure(compile_model(model, CONFIGS[config]), image, expected, runs, board, told.append)
    assert len(told) == runs + len(FAULTS) + 2
    return result, model.network


@pytest.fixture(scope="module")
def tiny():
    return measured("tiny_test", "8x8", 6)


def test_every_value_is_the_integer_models(tiny):
    result, network = tiny
    assert result["tasks"] == ["semseg", "depth"] and result["runs"] == 6
    assert result["values_compared"] == (6 + len(FAULTS)) * network.tokens * network.dim
    assert result["values_different"] == 0


def test_a_task_switch_is_one_register_write(tiny):
    result, _ = tiny
    assert result["task_switches"] == 5 and result["task_switch_register_writes"] == 1


def test_what_the_host_makes_of_each_fault(tiny):
    result, _ = tiny
    assert result["faults"] == {
        "run left behind by a killed process": "ended by the next opener",
        "weights answered with SLVERR": "BusError", "weights answered with DECERR": "BusError",
        "tokens answered with SLVERR": "BusError", "run not done in time": "AcceleratorTimeout",
        "memory without an answer": "AcceleratorTimeout", "bundle of another configuration": "BundleMismatch",
        "image of another shape": "WrongInput", "second opener": "AlreadyInUse",
        "image not flushed": "the old image's tokens",
    }
    assert board_sim.unexpected(result) == []


def test_what_is_wrong_is_said(tiny):
    result = copy.deepcopy(tiny[0])
    result["faults"]["second opener"] = "nothing"
    result |= {"values_different": 3, "task_switch_register_writes": 2}
    del result["faults"]["image not flushed"]
    assert board_sim.unexpected(result) == [
        "image not flushed: None, not the old image's tokens", "second opener: nothing, not AlreadyInUse",
        "3 values differ from the integer model's", "a task switch took 2 register writes"]


def test_a_host_that_polls_and_reads_every_register_meanwhile():
    model, image = model_of("tiny_test"), random_image("tiny_test")
    with SimulatedBoard(CONFIGS["8x8"]) as board, pytest.warns(UserWarning, match="Interrupt irq not created"), \
            simulated_overlay(CONFIGS["8x8"], board=board, interrupt=False) as overlay, \
            Accelerator(overlay) as accelerator:
        assert not accelerator.device.interrupts
        accelerator.load(compile_model(model, CONFIGS["8x8"]))
        registers, wait, cycles = overlay.moevit_0.register_map, accelerator.device.wait, []

        def look_and_wait(timeout):
            for _ in range(3):
                values = {each.name: int(getattr(registers, each.name)) for each in REGISTERS if each.name != "CONTROL"}
                cycles.append(values["CYCLES_LOW"])
            assert registers.CONTROL.IDLE == 0
            wait(timeout)

        accelerator.device.wait = look_and_wait
        tokens = accelerator.run_raw(image, "depth")
    assert (tokens == IntegerModel(model).run(image, 1).tokens).all()
    assert 0 < cycles[0] < cycles[1] < cycles[2]


@pytest.mark.slow
def test_the_demo_network_twenty_times():
    result, network = measured("demo", "16x16", 20)
    assert board_sim.unexpected(result) == [] and result["task_switches"] == 19
    assert result["values_compared"] == (20 + len(FAULTS)) * network.tokens * network.dim


@pytest.fixture
def command(tmp_path):
    """``command(output="out.json", **scenes)``: the exit code and what is printed, for the tiny network."""
    compile_model(model_of("tiny_test"), CONFIGS["8x8"]).save(tmp_path / "a.bundle")

    def run(output="out.json", **scenes):
        np.savez(tmp_path / "a.npz", **scenes)
        arguments = [str(tmp_path / "a.bundle"), str(tmp_path / "a.npz"), "-o", str(tmp_path / output)]
        return CliRunner().invoke(app, ["board-sim", *arguments, "--runs", "2"])

    return run


def test_command(command, monkeypatch, tmp_path, tiny):
    image = random_image("tiny_test")
    tokens = np.zeros((1, 9, 32), np.int16)
    result = copy.deepcopy(tiny[0])
    monkeypatch.setattr(command_module, "SimulatedBoard", lambda *_, **__: SimulatedBoard(CONFIGS["8x8"]))
    monkeypatch.setattr(command_module, "measure", lambda *_: result)
    scenes = {"images": image[None], "integer_semseg": tokens, "integer_depth": tokens}
    done = command(**scenes)
    assert done.exit_code == 0 and "AcceleratorTimeout" in done.output
    assert json.loads((tmp_path / "out.json").read_text())["values_different"] == 0
    result["values_different"] = 1
    done = command(**scenes)
    assert done.exit_code == command_module.DIFFERENT and "1 values differ" in done.output


def test_command_needs_what_it_compares_with(command, tmp_path):
    done = command(images=random_image("tiny_test")[None])
    assert done.exit_code == 1 and "missing: semseg, depth" in done.output
    assert not (tmp_path / "out.json").exists()


def test_places_that_cannot_be_written(command, monkeypatch):
    monkeypatch.setattr(command_module, "SimulatedBoard", None)  # refused before anything is built
    tokens = np.zeros((1, 9, 32), np.int16)
    scenes = {"images": random_image("tiny_test")[None], "integer_semseg": tokens, "integer_depth": tokens}
    done = command("a.npz/out.json", **scenes)
    assert done.exit_code == 1 and "cannot be written" in done.output
    assert command(".", **scenes).exit_code == 2
