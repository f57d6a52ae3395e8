# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while a network is quantised."""

__all__ = ["CalibrationError", "QuantisationError", "RangeError"]


class QuantisationError(ValueError):
    """A network that cannot be quantised as it is."""


class CalibrationError(QuantisationError):
    """Calibration images that say nothing about the network's ranges."""


class RangeError(QuantisationError):
    """A tensor whose values do not fit the machine's formats; names the tensor."""
