# SPDX-License-Identifier: Apache-2.0
"""The command line. Each command reads its arguments, calls the other packages, and prints."""
