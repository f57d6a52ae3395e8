# SPDX-License-Identifier: Apache-2.0
"""Real pretrained networks: fidelity, accuracy with labels and a frame on the RTL, of float and of integers."""
