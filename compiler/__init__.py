# SPDX-License-Identifier: Apache-2.0
"""Compiles a quantised model to a bundle: memory plan, order of the tiles, program."""
