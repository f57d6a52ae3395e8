# SPDX-License-Identifier: Apache-2.0
"""The errors of quantisation."""

__all__ = ["CalibrationError", "QuantisationError", "RangeError"]


class QuantisationError(ValueError):
    """The network cannot be quantised."""


class CalibrationError(QuantisationError):
    """Calibration images that do not show the ranges of the network."""


class RangeError(QuantisationError):
    """A tensor whose values do not fit the machine's formats. The message names the tensor."""
