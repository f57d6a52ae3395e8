# SPDX-License-Identifier: Apache-2.0
"""The contract: all that more than one part of the house must agree on, declared once, as data. Needs numpy only."""
