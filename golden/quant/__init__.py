# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation: a float checkpoint and a few images -> `spec.quantised.QuantisedModel`."""

from .errors import CalibrationError, QuantisationError, RangeError
from .quantiser import quantise

__all__ = ["CalibrationError", "QuantisationError", "RangeError", "quantise"]
