# SPDX-License-Identifier: Apache-2.0
"""Makes files for other tools from an Amaranth machine: Verilog core, wrapper with AMBA names, manifest."""
