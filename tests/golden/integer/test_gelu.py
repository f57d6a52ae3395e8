# SPDX-License-Identifier: Apache-2.0
from math import erf

import numpy as np
import pytest

from moevit.golden.integer.gelu import gelu
from moevit.spec.networks import ACTIVATION_ERROR, ACTIVATIONS
from moevit.spec.tables import GELU_GUARD, GELU_STEP_BITS, gelu_delta_table

#: Activations of networks. Most of the last distance is that of x sigmoid(1.702 x) from the exact form.
FORMS = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}
X = np.arange(-32768, 32768)


@pytest.mark.parametrize("name", FORMS)
def test_every_input_is_close_to_each_form(name):
    largest = np.abs(gelu(X) / 512 - FORMS[name](X / 512)).max()
    assert 0.9 * ACTIVATION_ERROR[name] < largest <= ACTIVATION_ERROR[name]
    assert set(ACTIVATIONS) == {*FORMS, "relu"} and ACTIVATION_ERROR["relu"] == 0


def test_results_fit_and_relu_minus_gelu_is_even():
    y = gelu(X)
    assert y.min() >= -32768 and y.max() <= 32767
    delta = np.maximum(X, 0) - y
    np.testing.assert_array_equal(delta[1:], delta[1:][::-1])  # -32768 has no counterpart


def test_far_from_zero_it_is_relu():
    far = np.abs(X) >= 6 * 512
    np.testing.assert_array_equal(gelu(X)[far], np.maximum(X, 0)[far])


def test_between_steps_it_is_interpolated():
    table = gelu_delta_table().tolist()
    for x in range(-3100, 3100):
        index, part = divmod(abs(x), 1 << GELU_STEP_BITS)
        low, high = (table[min(each, len(table) - 1)] for each in (index, index + 1))
        shift = GELU_STEP_BITS + GELU_GUARD
        delta = ((low << GELU_STEP_BITS) + (high - low) * part + (1 << shift >> 1)) >> shift
        assert gelu(np.array([x])).item() == max(x, 0) - delta, x
