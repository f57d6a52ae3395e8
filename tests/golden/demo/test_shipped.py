# SPDX-License-Identifier: Apache-2.0
"""The shipped demo checkpoint matches its record."""

import json

import pytest

from moevit.golden.demo.evaluate import evaluate
from moevit.golden.demo.heads import Heads
from moevit.golden.demo.scenes import Scenes
from moevit.golden.reference import load, read
from moevit.host import heads as host
from moevit.spec.networks import NETWORKS

from ...published import ROOT

FOLDER = ROOT / "models" / "demo"
SCENES = 48


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((FOLDER / "training.json").read_text())


@pytest.fixture(scope="module")
def metrics():
    network, tensors, _ = read(FOLDER / "demo.safetensors")
    heads = Heads(network).eval()
    heads.load_tensors(tensors)
    return evaluate(load(FOLDER / "demo.safetensors"), heads, Scenes("test"), SCENES)


def test_small_and_of_this_network():
    assert (FOLDER / "demo.safetensors").stat().st_size <= 4 << 20
    network, tensors, _ = read(FOLDER / "demo.safetensors")
    assert network == NETWORKS["demo"]
    arrays = {name: value.numpy() for name, value in tensors.items()}
    assert set(host.read_heads(network, arrays)) == set(network.tasks)


def test_reaches_its_recorded_metrics(record, metrics):
    recorded = record["metrics"]
    assert recorded["scenes"] >= 200
    assert metrics.miou == pytest.approx(recorded["miou"], abs=0.04), f"{SCENES} of {recorded['scenes']} scenes"
    assert metrics.depth_rmse == pytest.approx(recorded["depth_rmse"], rel=0.15)


def test_worth_showing(metrics):
    assert metrics.miou > 0.6
    assert metrics.depth_rmse < 0.4 * metrics.constant_rmse


def test_fit_for_integers(metrics):
    assert metrics.residual_max < 60
    for tasks in metrics.expert_load.values():
        for load_of_task in tasks.values():
            assert min(load_of_task) > 0, "every expert is used"


def test_page_shows_the_record(record):
    page = (FOLDER / "README.md").read_text()
    for value in (f"{record['metrics']['miou']:.1%}", f"{record['metrics']['depth_rmse']:.4f}"):
        assert value in page
