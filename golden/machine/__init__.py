# SPDX-License-Identifier: Apache-2.0
"""The machine in Python: executes a bundle's program, byte for byte, with the same result as the RTL."""
