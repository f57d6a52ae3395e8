# SPDX-License-Identifier: Apache-2.0
"""The machine's arithmetic in numpy integers. Every function states its widths; all arrays are int64."""
