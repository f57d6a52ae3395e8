# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of one value or one row; each file has its twin in ``golden.integer``."""
