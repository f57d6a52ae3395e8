# SPDX-License-Identifier: Apache-2.0
"""Whole networks on board classes: frames on the RTL against the bounds, the performance model and published work."""
