# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moevit.golden.integer.row_scale import UNIT, RowScale
from moevit.golden.integer.row_writer import gate_logits, scaled, write_rows
from moevit.spec.isa import Activation, Saturation


def one(value: int) -> np.ndarray:
    return np.array([value], np.int64)


def unit_rows(accumulator, **options):
    """Rows written with all scales 1."""
    accumulator = np.array(accumulator, np.int64)
    rows, columns = accumulator.shape
    scale = RowScale(np.full(rows, UNIT.mantissa), np.full(rows, UNIT.exponent))
    return write_rows(accumulator, scale, np.full(columns, 1 << 15), np.zeros(columns, np.int64), 15, **options)


@given(st.integers(-(1 << 26), (1 << 26) - 1), st.integers(0, 65535), st.integers(-30, 30), st.integers(0, 65535),
       st.integers(0, 63))
def test_scaled_is_the_rounded_product(accumulator, mantissa, exponent, column_scale, shift):
    found = scaled(one(accumulator)[None], RowScale(one(mantissa), one(exponent)), one(column_scale), shift)[0, 0]
    product = floor(Fraction(mantissa * column_scale, 1 << 15) + Fraction(1, 2))
    down = min(max(shift - exponent, 0), 63)
    exact = floor(Fraction(accumulator * product, 1 << down) + Fraction(1, 2))
    assert found == min(max(exact, -(1 << 23)), (1 << 23) - 1)


def test_each_clipped_value_is_counted_once():
    written = unit_rows([[40_000, -40_000, 32_767, 5]])
    np.testing.assert_array_equal(written.rows, [[32767, -32768, 32767, 5]])
    assert written.saturated == 2
    both = unit_rows([[40_000]], residual=np.array([[32_767]]))
    assert both.saturated == 1
    late = unit_rows([[30_000]], residual=np.array([[30_000]]))
    assert (late.rows[0, 0], late.saturated) == (32767, 1)


def test_ranges_of_operands_and_weights():
    accumulator = [[300, -300, 255, -127, -128]]
    operand = unit_rows(accumulator, saturation=Saturation.OPERAND)
    np.testing.assert_array_equal(operand.rows, [[255, -255, 255, -127, -128]])
    weight = unit_rows(accumulator, saturation=Saturation.WEIGHT)
    np.testing.assert_array_equal(weight.rows, [[127, -127, 127, -127, -127]])
    assert (operand.saturated, weight.saturated) == (2, 4)


def test_order_of_gelu_score_and_residual():
    # gelu(-5) is almost 0, half of gelu(5) is 2.5, both added to 1.
    written = unit_rows([[-5 * 512, 5 * 512]], activation=Activation.GELU, score=np.array([1 << 15]),
                        residual=np.array([[512, 512]]))
    np.testing.assert_array_equal(written.rows, [[512, 512 + 1280]])


def test_a_masked_expert_has_the_least_logit_and_others_clip():
    logits = gate_logits(np.array([[100, 1 << 25, -(1 << 25)]]), RowScale(one(1 << 15), one(0)), np.full(3, 1 << 15),
                         np.array([-32768, 0, 0]), 15)
    np.testing.assert_array_equal(logits, [[-(1 << 23), (1 << 23) - 1, -(1 << 23)]])
