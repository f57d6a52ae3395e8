# SPDX-License-Identifier: Apache-2.0
"""Experts are numbered by their loads in calibration."""

import dataclasses

import numpy as np
import pytest
import torch

from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.fidelity import compare
from moevit.golden.quant.order import expert_order, speculated
from moevit.golden.quant.synthetic import synthetic_checkpoint, synthetic_images
from moevit.golden.reference import load_state
from moevit.spec.networks import NETWORKS
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

TINY = NETWORKS["tiny_test"]
MOE = "blocks.1.moe"


@pytest.fixture(scope="module")
def tensors():
    return synthetic_checkpoint(TINY, 7)


@pytest.fixture(scope="module")
def images():
    return synthetic_images(TINY, 7, 2)


@pytest.fixture(scope="module")
def model(tensors, images):
    return quantise(TINY, tensors, images)


def test_heaviest_first_in_the_task_that_needs_it_least():
    load = np.array([[[9, 0, 3, 3], [1, 8, 3, 3]], [[9, 0, 2, 2], [2, 8, 3, 3]]])  # (images, tasks, experts)
    np.testing.assert_array_equal(expert_order(load), [2, 3, 0, 1])
    np.testing.assert_array_equal(expert_order(np.ones((3, 2, 4), int)), range(4))


@pytest.mark.parametrize("idle, early", [((), 4), (((0, 0),), 4), (((0, 0), (0, 0)), 3), (((0, 0), (1, 0)), 4),
                                         (((0, 1), (0, 1)), 1)], ids=str)
def test_what_more_than_half_of_the_images_need_for_every_task(idle, early):
    """``idle``: (task, expert) without a token in one more image. Expert 0 comes last, expert 1 second."""
    load = np.ones((4, 2, 4), int)
    for image, (task, expert) in enumerate(idle):
        load[image, task, expert] = 0
    assert speculated(load, np.array([2, 1, 3, 0])) == early


def test_numbers_move_everything_together(tensors, images, model):
    """The same checkpoint with its experts in another order gives the same frames and queues under other numbers."""
    shuffle = np.array([2, 0, 3, 1])
    shuffled = dict(tensors)
    for name, tensor in tensors.items():
        if name.startswith(f"{MOE}.gate."):
            shuffled[name] = tensor[:, shuffle]
        elif name.startswith(f"{MOE}.experts."):
            shuffled[name] = tensor[shuffle]
    other = quantise(TINY, shuffled, images)
    np.testing.assert_array_equal(shuffle[other[f"{MOE}.order"]], model[f"{MOE}.order"])
    for name in model.tensors.keys() - {f"{MOE}.order"}:
        np.testing.assert_array_equal(other[name], model[name], err_msg=name)


def test_the_load_decides(model, images, tensors):
    """The integer model routes as the float model, so its loads are in falling order. Masks move with their experts."""
    integer = IntegerModel(model)
    loads = np.array([sum(np.bincount(integer.run(image, task).trace["1.top_k_index"].ravel(), minlength=4)
                          for image in images) for task in range(2)])
    assert not np.array_equal(model[f"{MOE}.order"], range(4)), "this seed shows nothing"
    assert (np.diff(loads.min(axis=0)) <= 1).all()
    mask = np.ones((2, 4), bool)
    mask[1, 3] = False
    masked = quantise(TINY, {**tensors, f"{MOE}.gate.mask": mask}, images)
    np.testing.assert_array_equal(masked[f"{MOE}.order"][-1], 3)
    np.testing.assert_array_equal(masked[f"{MOE}.gate.bias"][1] == -32768, [False, False, False, True])
    assert masked[f"{MOE}.speculate"] <= 3


def test_comparison_with_float_knows_the_numbers(model, tensors, images):
    reference = load_state(TINY, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    right = compare(reference, model, images)
    assert right.routing[1] > 0.9 and right.sqnr["1.gate_logits"] > 20
    lost = dataclasses.replace(model, tensors={**model.tensors, f"{MOE}.order": np.arange(4, dtype=np.uint8)})
    wrong = compare(reference, lost, images)
    assert wrong.routing[1] < 0.7 and wrong.sqnr["1.gate_logits"] < 10


@pytest.mark.parametrize("name, value, message", [
    ("order", np.array([0, 1, 1, 3], np.uint8), "does not name every expert once"),
    ("speculate", np.uint8(5), "speculate = 5, but there are 4 experts"),
])
def test_refuses(model, name, value, message):
    with pytest.raises(QuantisedModelError, match=message):
        dataclasses.replace(model, tensors={**model.tensors, f"{MOE}.{name}": np.asarray(value)})


def test_a_file_without_an_order(model, tmp_path, monkeypatch):
    monkeypatch.setattr("moevit.spec.quantised.FORMAT_VERSION", 1)
    model.save(tmp_path / "old.npz")
    monkeypatch.undo()
    with pytest.raises(QuantisedModelError, match="has version 1, this is 3: quantise again"):
        QuantisedModel.load(tmp_path / "old.npz")
