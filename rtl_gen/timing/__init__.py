# SPDX-License-Identifier: Apache-2.0
"""Static timing of mapped netlists: a model of delays, the longest path to every register, and the page of them."""
