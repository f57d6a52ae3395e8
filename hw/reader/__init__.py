# SPDX-License-Identifier: Apache-2.0
"""Rows out of the memories: operands for the array, LayerNorm statistics, rows for the output."""
