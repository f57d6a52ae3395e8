# SPDX-License-Identifier: Apache-2.0
"""The contract: everything that two parts of the project must agree on, declared once, as data. Needs numpy alone."""
