# SPDX-License-Identifier: Apache-2.0
"""Rung 3 on real weights: blocks 0 and 1 of m3vit_tiny on its own image, RTL against the golden machine.

Only the expert matrices of block 1 are not published. They are synthetic (seeded), with real biases.
"""

import numpy as np

from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant import quantise
from moevit.golden.quant.images import photographs


def test_blocks_0_and_1_on_the_rtl(pair, published):
    model = quantise(published.network, published.tensors, photographs(published.network, 4))
    both = pair(model, "16x16")
    for index, task in enumerate(published.network.tasks):
        tokens = both.run(published.image, task)
        np.testing.assert_array_equal(tokens, IntegerModel(model).run(published.image, index).tokens)
        active = both.rtl.report.expert_rows[1]
        assert sum(active.values()) == 2 * published.network.tokens
        if task == "semseg":  # 12 of 16 experts have tokens on this image (shared float goldens)
            assert set(active) == set(np.unique(published.golden["l1_top2_idx_task0"]))
