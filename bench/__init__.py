# SPDX-License-Identifier: Apache-2.0
"""Whole networks on boards: frames on the RTL, beside the bounds, the performance model and published work."""
