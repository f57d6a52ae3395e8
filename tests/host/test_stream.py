# SPDX-License-Identifier: Apache-2.0
"""Streams: the same tokens as single runs, the next image copied while the machine works."""

import os

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.host.errors import AccelError, Busy, WrongInput
from moevit.host.runtime import Accelerator
from moevit.spec.registers import offset

from .board import CONFIG, FakeBoard, FakeOverlay


@pytest.fixture
def board(request):
    return FakeBoard(f"stream-{os.getpid()}-{request.node.name[:40]}")


@pytest.fixture
def loaded(board, tiny_model):
    with Accelerator(FakeOverlay(board)) as accelerator:
        accelerator.load(compile_model(tiny_model, CONFIG))
        yield accelerator


@pytest.fixture
def images(tiny_image):
    return np.random.default_rng(5).integers(0, 256, (5, *tiny_image.shape), dtype=np.uint8)


def test_tokens_are_those_of_single_runs(loaded, images):
    alone = [loaded.run(image, "depth") for image in images]
    np.testing.assert_array_equal(list(loaded.stream(iter(images), "depth")), alone)
    assert loaded.report.passes and loaded.report.expert_rows
    np.testing.assert_array_equal(list(loaded.stream(images[:1], "depth")), alone[:1])
    assert list(loaded.stream([], "depth")) == []


def test_the_next_image_is_copied_while_the_machine_runs(loaded, board, images):
    loaded.run(images[0], "depth")
    board.log.clear()
    assert len(list(loaded.stream(images[:4], "depth"))) == 4
    start = ("write", offset("CONTROL"))
    steps = [what if (what, where) != start else "start" for what, where in board.log]
    copy, switch = ["flush"], ["write", "write"]  # image and output
    assert steps == [*copy, "start", *copy, *switch, "start", "invalidate", *copy, *switch, "start", "invalidate",
                     *copy, *switch, "start", "invalidate", "invalidate"]
    assert {where for what, where in board.log if what == "write"} == {
        offset("CONTROL"), offset("IMAGE_LOW"), offset("OUTPUT_LOW")}


def test_a_stream_that_is_left_ends_its_run(loaded, board, images):
    stream = loaded.stream(images, "depth")
    next(stream)
    with pytest.raises(Busy):
        loaded.run(images[0], "depth")
    stream.close()
    assert board.steps[-1] == "reset"
    loaded.run(images[0], "depth")


def test_a_wrong_image_ends_the_run_before_it(loaded, board, images):
    stream = loaded.stream([images[0], images[1], images[2][:8]], "depth")
    next(stream)
    with pytest.raises(WrongInput, match=r"uint8\[8, 32, 3\]"):
        next(stream)
    assert board.steps[-1] == "reset"
    with pytest.raises(WrongInput, match="no task is called 'colour'"):
        next(loaded.stream(images, "colour"))


@pytest.mark.parametrize("spoil", [lambda images: images, lambda images: images[:, :8]])
def test_a_second_stream_leaves_the_first_one_alone(loaded, images, spoil):
    alone = [loaded.run(image, "depth") for image in images]
    stream = loaded.stream(images, "depth")
    tokens = [next(stream)]
    with pytest.raises((Busy, WrongInput)):
        next(loaded.stream(spoil(images), "depth"))
    np.testing.assert_array_equal([*tokens, *stream], alone)


@pytest.mark.parametrize("taken", [1, 4])  # of five, so that an image is left, or the last run alone
@pytest.mark.parametrize("end", [Accelerator.reset, lambda accelerator: accelerator.load(accelerator.bundle)])
def test_a_stream_whose_run_was_ended_says_so_and_ends_no_other(loaded, board, images, taken, end):
    stream = loaded.stream(images, "depth")
    for _ in range(taken):
        next(stream)
    end(loaded)
    other = loaded.stream(images, "depth")
    next(other)
    board.log.clear()
    with pytest.raises(AccelError, match=r"ended by reset\(\).*Begin another stream\(\)"):
        next(stream)
    assert not board.log
    assert len(list(other)) == len(images) - 1
