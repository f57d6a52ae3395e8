# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of one value or one row, with the bits of ``golden.integer``."""
