# SPDX-License-Identifier: Apache-2.0
"""What the machine computes, exactly, in numpy integers. Every function states its widths; arrays are int64, but for the
operands of `product`, which come as any type that holds them."""
