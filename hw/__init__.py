# SPDX-License-Identifier: Apache-2.0
"""The machine in Amaranth: bus and arithmetic at the bottom, then the units, then control, then the top."""
