# SPDX-License-Identifier: Apache-2.0
"""The configurations of the tests.

They are the named ones, the smallest with a bus wider than a beat and with tiles of four beats a cycle, and one whose
NORM takes two words a cycle.
"""

import dataclasses

from moevit.spec.arrays import CONFIGS

TEST_CONFIGS = {
    **CONFIGS,
    "8x8_wide": dataclasses.replace(CONFIGS["8x8"], name="8x8_wide", bus_beats=2),
    "16x16_four": dataclasses.replace(CONFIGS["16x16"], name="16x16_four", tile_beats=4),
    "8x16_pairs": dataclasses.replace(CONFIGS["8x16"], name="8x16_pairs", norm_words=2),
}
