# SPDX-License-Identifier: Apache-2.0
"""``python -m pytest --pyargs moevit.host.selftest``, in the folder of a release archive: does this board work?"""
