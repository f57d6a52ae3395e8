# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.golden.integer.gelu import gelu
from moevit.hw.math.gelu import Gelu
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import Activation

LANES = 64


def run(words, activations):
    unit = Gelu(words.shape[1])
    return np.array(StreamBench(unit).words({"i": words, "activation": activations}, ["o"], unit.latency)["o"])


def test_every_value():
    x = np.arange(-32768, 32768).reshape(-1, LANES)
    assert np.array_equal(run(x, np.full(len(x), Activation.GELU)), gelu(x))
    assert np.array_equal(run(x, np.full(len(x), Activation.RELU)), np.maximum(x, 0))


def test_the_activation_goes_with_its_word():
    x = np.arange(-6000, 6000, 5).reshape(-1, 8)
    chosen = np.arange(len(x)) % 3
    functions = {Activation.NONE: x, Activation.GELU: gelu(x), Activation.RELU: np.maximum(x, 0)}
    expected = [functions[Activation(which)][row] for row, which in enumerate(chosen)]
    assert np.array_equal(run(x, chosen), expected)


def test_extremes_pass_without_activation():
    x = np.array([[-32768, 32767, -1, 0, 1]])
    assert np.array_equal(run(x, [0]), x)


def test_lanes_refused(unused_allowed):
    with pytest.raises(ValueError, match="0"):
        Gelu(0)
