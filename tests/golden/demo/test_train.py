# SPDX-License-Identifier: Apache-2.0
"""Training follows its recipe, on a very small scale."""

import json
import re

import pytest
import torch
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.golden.demo import train as module
from moevit.golden.demo.heads import Heads
from moevit.golden.demo.recipe import Recipe
from moevit.golden.demo.train import Pool, Trainer
from moevit.golden.reference import load, read


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def losses(recipe: Recipe, steps: int) -> list[tuple[str, float, float]]:
    trainer = Trainer(recipe, Pool(recipe.scenes, recipe.seed))
    return [trainer.step() for _ in range(steps)]


def test_loss_falls():
    history = losses(Recipe(scenes=24, batch=6, steps=60, warmup=5), 32)
    for task in ("semseg", "depth"):
        mine = [value for name, value, _ in history if name == task]
        assert sum(mine[-4:]) < 0.85 * sum(mine[:4]), (task, mine)


def test_turns_and_seed():
    recipe = Recipe(scenes=24, batch=2, steps=10, turns=("semseg", "depth"))
    first = losses(recipe, 5)
    assert [task for task, _, _ in first] == ["semseg", "depth"] * 2 + ["semseg"]
    assert first == losses(recipe, 5), "the same seed must train the same way"
    assert first != losses(Recipe(**{**vars(recipe), "seed": 1}), 5)


def test_rate_warms_up_and_ends_at_zero():
    trainer = Trainer(Recipe(scenes=2, batch=1, steps=100, warmup=10), Pool(2, 0))
    rates = [trainer._rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] and rates[100] == 0


def test_imbalance():
    even = torch.full((1, 4, 8), 1 / 8)
    index = torch.arange(8).view(1, 4, 2)
    assert module._imbalance({"1.gate_probs": even, "1.top_k_index": index}).item() == pytest.approx(1)
    one = torch.zeros(1, 4, 8)
    one[..., 3] = 1
    collapsed = {"1.gate_probs": one, "1.top_k_index": torch.full((1, 4, 1), 3)}
    assert module._imbalance(collapsed).item() == pytest.approx(8)


def test_pool_draws_every_scene_once_per_round():
    pool = Pool(6, seed=3)
    pool.images[:] = 0
    for scene in range(6):
        pool.depth[scene] = scene
    seen = torch.cat([pool.draw(2, "depth")[1][:, 0] for _ in range(3)])
    assert sorted(seen.tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("option, least", [("--steps", 4), ("--scenes", 1), ("--test-scenes", 1)])
def test_too_few(option, least):
    done = CliRunner().invoke(app, ["demo", "train", option, str(least - 1)])
    assert done.exit_code == 2 and option in done.output and "greater than" in done.output


def test_whole_run(tmp_path):
    done = CliRunner().invoke(app, ["demo", "train", "--out", str(tmp_path / "demo"), "--steps", "8", "--scenes", "8",
                                    "--test-scenes", "4"])
    assert done.exit_code == 0, done.output
    out = tmp_path / "demo"
    assert {path.name for path in out.iterdir()} == {"demo.safetensors", "training.json", "training.png", "README.md"}
    contents = json.loads((out / "training.json").read_text())
    assert contents["steps"] == 8 and contents["curve"]["depth"]["step"] == [4, 8]
    assert f"{contents['metrics']['miou']:.1%}" in (out / "README.md").read_text()
    assert re.search(r"mIoU \d+\.\d%, depth RMSE \d\.\d+", done.output)
    model, (network, tensors, _) = load(out / "demo.safetensors"), read(out / "demo.safetensors")
    Heads(network).load_tensors(tensors)
    assert not model.training
