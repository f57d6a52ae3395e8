# SPDX-License-Identifier: Apache-2.0
"""From a quantised model to a bundle: memory plan, tile order, program."""
