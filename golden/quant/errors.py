# SPDX-License-Identifier: Apache-2.0
"""The errors of quantisation."""

__all__ = ["CalibrationError", "QuantisationError", "RangeError"]


class QuantisationError(ValueError):
    """The network cannot be quantised.

    Fix: leave out ``--heads`` if the checkpoint has no heads.
    """


class CalibrationError(QuantisationError):
    """Calibration images that do not show the ranges of the network.

    Fix: give a few real pictures in the network's size, as u8.
    """


class RangeError(QuantisationError):
    """A tensor whose values do not fit the machine's formats. The message names the tensor.

    Fix: check this tensor of the checkpoint for extreme values, and calibrate on real pictures.
    """
