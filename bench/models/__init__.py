# SPDX-License-Identifier: Apache-2.0
"""Real pretrained networks, float against integers: fidelity, accuracy with labels, and a frame on the RTL."""
