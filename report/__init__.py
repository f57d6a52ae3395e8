# SPDX-License-Identifier: Apache-2.0
"""Drawings of a run: pure functions from data to SVG, and the page that holds them. Needs numpy alone."""
