# SPDX-License-Identifier: Apache-2.0
"""The configurations that tests run on: the named ones, and the smallest with a bus wider than a beat."""

import dataclasses

from moevit.spec.arrays import CONFIGS

TEST_CONFIGS = {**CONFIGS, "8x8_wide": dataclasses.replace(CONFIGS["8x8"], name="8x8_wide", bus_beats=2)}
