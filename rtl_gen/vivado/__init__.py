# SPDX-License-Identifier: Apache-2.0
"""From generated Verilog to a bitstream: the data for Vivado's scripts, and the checks of their results."""
