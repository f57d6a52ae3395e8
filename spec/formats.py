# SPDX-License-Identifier: Apache-2.0
"""Number formats: every width of the machine. ``docs/formats.md`` is made from here."""

from typing import NamedTuple

__all__ = [
    "ACCUMULATOR_BITS",
    "ACCUMULATOR_MAX",
    "BIAS_MASKED",
    "DIGIT_BITS",
    "EXP_ONE",
    "FORMATS",
    "GAIN_SHIFT",
    "GATE_FRACTION",
    "GATE_LOGIT_BITS",
    "GELU_FRACTION",
    "INVERSE_DIM_FRACTION",
    "LOGIT_FRACTION",
    "LONGEST_ROW",
    "LONGEST_SUM",
    "MEAN_BITS",
    "OPERAND_BITS",
    "OPERAND_MAX",
    "QUANTISED_MAX",
    "ROW_BITS",
    "ROW_SUM_BITS",
    "SCORE_FRACTION",
    "SELECT_FRACTION",
    "SPREAD_BITS",
    "WEIGHT_MAX",
    "Format",
    "signed_range",
]

# Array: operand (a row's value) x weight (a tile's value), summed over k.
OPERAND_BITS = 9  # s9: a quantised row value in +-255, a pixel or an exponential in 0..255
OPERAND_MAX = 255
WEIGHT_MAX = 127  # s8, symmetric: -128 never occurs
ACCUMULATOR_BITS = 27  # s27: the wide port of a DSP48E2
ACCUMULATOR_MAX = (1 << (ACCUMULATOR_BITS - 1)) - 1
LONGEST_SUM = ACCUMULATOR_MAX // (OPERAND_MAX * WEIGHT_MAX)  # 2072 terms of any values

# Rows in the residual and hidden memories.
ROW_BITS = 16

LONGEST_ROW = 2047  # channels of a LayerNorm
MEAN_BITS = 17  # one more than a row's values, since 1/dim is rounded
ROW_SUM_BITS = 27  # s27
SPREAD_BITS = 53  # dim x sum of squares - sum^2 + epsilon

# A row is quantised to q in +-32640 = 255 x 128. Its high digit (rounded q / 128) is the operand. The gate needs more
# than 9 bits, so it also uses the low digit, in -64..63.
DIGIT_BITS = 7
QUANTISED_MAX = OPERAND_MAX << DIGIT_BITS

GAIN_SHIFT = 8  # (x - mean) x gain is rounded by this before the row's peak is taken
INVERSE_DIM_FRACTION = 24  # 1 / dim as an integer, for the mean

GELU_FRACTION = 9  # Q7.9 before and after GELU
LOGIT_FRACTION = 8  # attention logits Q8.8 in units of log2: the softmax is 2^(x - max)
GATE_FRACTION = 16  # gate logits Q8.16 in units of log2
GATE_LOGIT_BITS = 24
EXP_ONE = 255  # exponentials of a row: u8, the maximum of the row is 255
SCORE_FRACTION = 16  # gate score: 65536 is 1.0
SELECT_FRACTION = 14  # selection bias of a sigmoid gate, in units of its scores; of a softmax gate LOGIT_FRACTION
BIAS_MASKED = -32768  # the gate bias that takes an expert out of the choice


class Format(NamedTuple):
    """One tensor's format: ``bits`` wide, two's complement or unsigned. A value is integer x ``unit``."""

    tensor: str
    bits: int
    signed: bool
    unit: str
    why: str


FORMATS = (
    Format("pixel", 8, False, "1/256", "exact; a nine-bit operand holds it as it is"),
    Format("weight of a linear", 8, True, "column scale", "s8 per output channel alone costs nothing visible"),
    Format("operand", 9, True, "row scale / 255", "per-row dynamic scale; the ninth bit is free in a DSP48E2"),
    Format("accumulator", ACCUMULATOR_BITS, True, "row scale x column scale", "holds 2072 terms of any values"),
    Format("residual row", 16, True, "2^-residual_fraction", "an 8-bit residual ruins everything"),
    Format("hidden row", 16, True, "2^-fraction of its pass", "quantised again, per row, when it is read"),
    Format("norm gain", 16, True, "2^-gain_fraction", "folding gamma into the weights costs 5 to 10 dB"),
    Format("query", 9, True, "static, per layer", "stored in a hidden row, used as an operand unchanged"),
    Format("key, value", 8, True, "static, per layer", "they are the array's weights; the key bias is dropped"),
    Format("attention logit", 16, True, "2^-8, log2", "base 2: exp needs no multiplier"),
    Format("exponential", 8, False, "1/255 of the row maximum", "row-relative u8 is within 0.5 dB of u16"),
    Format("1/sum, row scale", 16, False, "mantissa and exponent", "one multiply per output row"),
    Format("column scale", 16, False, "2^-shift of its pass", ""),
    Format("bias", 16, True, "that of the output", "added after scaling, since row scales differ"),
    Format("pre-GELU, GELU", 16, True, "2^-9", "8 bits before GELU lose"),
    Format("gate operand", 16, True, "row scale / 32640", "two digits: 8 x 8 bits misroute"),
    Format("gate weight", 15, True, "column scale", "two digits of the array's s8 weights"),
    Format("gate logit", GATE_LOGIT_BITS, True, "2^-16, log2", "top-k on these integers, lower index wins ties"),
    Format("selection bias", 16, True, "2^-8, log2", "added to what is ranked; of a sigmoid gate 2^-14, of a score"),
    Format("gate score", 17, False, "2^-16", "65536 is 1.0"),
)


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest two's complement integer of ``bits`` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
