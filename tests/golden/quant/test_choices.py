# SPDX-License-Identifier: Apache-2.0
"""The value of each choice of format and rounding, measured by undoing it.

``-s`` prints the table of docs/quantisation.md and of the ADRs.
"""

from dataclasses import replace

import numpy as np
import pytest

from moevit.golden.integer import model as integer_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.integer.row_scale import RowScale, digits, peak_scale
from moevit.golden.quant import quantise, quantiser
from moevit.golden.quant.attention import AttentionQuantiser
from moevit.spec.isa import Saturation

from .conftest import measure

_linear = IntegerModel._linear


@pytest.fixture(scope="module")
def chosen(published, quantised):
    found = measure(published, quantised)
    show("as chosen", found)
    return found


@pytest.fixture
def shown(published, quantised, chosen):
    """Measure a model, print its line, and return the loss of block 0 in dB and the ratio of the gate's noise."""
    def run(name: str, model=None) -> tuple[float, float]:
        found = measure(published, model or quantised)
        show(name, found)
        return (chosen.sqnr["0.x_post_mlp"] - found.sqnr["0.x_post_mlp"],
                np.mean(found.gate_noise) / np.mean(chosen.gate_noise))
    return run


def show(name, found):
    print(f"\n| {name} | {found.sqnr['0.x_post_mlp']:.1f} | {found.sqnr['1.x_post_attn']:.1f} "
          f"| {np.mean(found.gate_noise):.4f} | {np.mean(found.same):.1%} |", end="")


def test_rounding_to_nearest(published, calibration, shown):
    lost, _ = shown("weights rounded to nearest",
                    quantise(published.network, published.tensors, calibration, compensate=False))
    assert 2 < lost < 6


@pytest.mark.slow
def test_one_scale_for_all_value_channels(published, calibration, shown, monkeypatch):
    peak = AttentionQuantiser.peak

    def common(self, part):
        found = peak(self, part)
        return np.full_like(found, found.max())

    monkeypatch.setattr(AttentionQuantiser, "peak", common)
    model = quantise(published.network, published.tensors, calibration)
    lost, _ = shown("one scale for all channels of q, k, v", model)
    assert lost > 1


@pytest.mark.slow
def test_gain_folded_into_the_weights(published, calibration, shown):
    tensors = dict(published.tensors)
    for block in range(2):
        readers = {"norm1": ["attn.qkv"], "norm2": ["moe.gate", "moe.experts.fc1"] if block else ["mlp.fc1"]}
        for norm, layers in readers.items():
            gamma, beta = (tensors[f"blocks.{block}.{norm}.{part}"] for part in ("weight", "bias"))
            for layer in layers:
                name = f"blocks.{block}.{layer}"
                weight = tensors[f"{name}.weight"]
                tensors[f"{name}.weight"] = weight * gamma
                tensors[f"{name}.bias"] = tensors[f"{name}.bias"] + weight @ beta
            tensors[f"blocks.{block}.{norm}.weight"] = np.ones_like(gamma)
            tensors[f"blocks.{block}.{norm}.bias"] = np.zeros_like(beta)
    model = quantise(published.network, tensors, calibration)
    # The unit names stay, and so do the constants that left keys and values.
    lost, _ = shown("LayerNorm gain folded into the weights", model)
    assert lost > 1


def test_eight_bit_operands(shown, monkeypatch):
    monkeypatch.setattr(integer_model, "digits", _eight_bits)
    monkeypatch.setattr(IntegerModel, "_linear", _eight_bit_queries)
    lost, noise = shown("operands s8 instead of s9")
    assert lost > 2 and noise > 1.3


def test_one_scale_for_all_rows(shown, monkeypatch):
    monkeypatch.setattr(integer_model, "peak_scale", lambda peak: peak_scale(np.full_like(peak, peak.max())))
    lost, _ = shown("one scale for all rows of proj's and fc2's inputs")
    assert lost > 2


def test_normalised_probabilities(shown, monkeypatch):
    """Probabilities as u8 in units of 1/256 instead of relative to the maximum of their row."""
    monkeypatch.setattr(integer_model, "exponentials", lambda *arguments: np.rint(256 * _softmax(*arguments)))
    monkeypatch.setattr(integer_model, "reciprocal",
                        lambda total: RowScale(np.full(total.shape, 1 << 15), np.full(total.shape, -8)))
    lost, _ = shown("probabilities u8 in units of 1/256")
    assert lost > 0.5


def test_sixteen_bit_exponentials(shown, monkeypatch):
    monkeypatch.setattr(integer_model, "exponentials", lambda logits, maximum, keys: np.rint(
        65535 * 2.0 ** ((logits - maximum[:, None]) / 256)).astype(np.int64))
    lost, _ = shown("exponentials u16")
    assert -1 < lost < 0  # a gain


def test_gate_of_one_digit(shown, monkeypatch):
    monkeypatch.setattr(IntegerModel, "_route", _one_digit_route)
    lost, noise = shown("gate with one digit of rows and weights")
    assert lost == 0 and noise > 1.1


@pytest.mark.slow
def test_smaller_residual_fraction(published, calibration, shown, monkeypatch):
    monkeypatch.setattr(quantiser, "RESIDUAL_HEADROOM", 4.0)
    lost, _ = shown("a residual bit less", quantise(published.network, published.tensors, calibration))
    assert -0.2 < lost < 1


def _eight_bits(q):
    """The high digit in -127..127, on the scale of 255."""
    return np.rint(q * (127 / 32640)) * (255 / 127), digits(q)[1]


def _eight_bit_queries(self, *arguments, **options):
    rows = _linear(self, *arguments, **options)
    return 2 * ((rows + 1) >> 1) if options.get("saturation") == Saturation.OPERAND else rows


def _softmax(logits, maximum, keys):
    e = 2.0 ** ((logits - maximum[:, None]) / 256)
    return e / e.sum(axis=1, keepdims=True)


_route = IntegerModel._route


def _one_digit_route(self, frame, block, normed, task):
    """Route with only the high digits of rows and weights."""
    name = f"blocks.{block}.moe.gate.weight"
    weight = self._tensors[name]
    self._tensors[name] = 128 * np.floor(weight / 128 + 0.5)
    high = digits(normed.rows)[0]
    result = _route(self, frame, block, replace(normed, rows=high << 7), task)
    self._tensors[name] = weight
    return result
