# SPDX-License-Identifier: Apache-2.0
"""The command line: each command reads its arguments, calls what does the work, and prints."""
