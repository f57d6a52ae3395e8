# SPDX-License-Identifier: Apache-2.0
"""The golden machine: it executes a bundle's program in Python and returns the same bytes as the RTL."""
