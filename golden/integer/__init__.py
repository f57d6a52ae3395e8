# SPDX-License-Identifier: Apache-2.0
"""What the machine computes, exactly, in numpy integers. Every function states its widths; all arrays are int64."""
