# SPDX-License-Identifier: Apache-2.0
"""From an Amaranth machine to files that other tools take: Verilog core, wrapper with AMBA names, manifest."""
