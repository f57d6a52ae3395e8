# SPDX-License-Identifier: Apache-2.0
"""A board that is a golden machine under pynq's own classes, and an Accelerator on its overlay."""

import os

import pytest

from moevit.golden.integer.model import IntegerModel
from moevit.host.runtime import Accelerator

from ..board import FakeBoard, FakeOverlay


@pytest.fixture
def board(request):
    return FakeBoard(f"fake-{os.getpid()}-{request.node.name[:40]}")


@pytest.fixture
def overlay(board):
    return FakeOverlay(board)


@pytest.fixture
def loaded(overlay, bundle):
    with Accelerator(overlay) as accelerator:
        accelerator.load(bundle)
        yield accelerator


@pytest.fixture
def tokens(tiny_model, tiny_image):
    """By task, as the integer model has them."""
    return {task: IntegerModel(tiny_model).run(tiny_image, index).tokens
            for index, task in enumerate(tiny_model.network.tasks)}
