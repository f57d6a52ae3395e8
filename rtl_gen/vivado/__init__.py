# SPDX-License-Identifier: Apache-2.0
"""The way from generated Verilog to a bitstream: the data that Vivado's scripts read, and what watches over them."""
