# SPDX-License-Identifier: Apache-2.0
"""Checks of imports with several tasks, and of sources that pad their pictures."""

from collections.abc import Callable

import torch
from torch import Tensor

from moevit.golden.importers import Imported
from moevit.golden.importers.prove import padded
from moevit.golden.reference import load_state, pixels

from .conftest import assert_same, images_of, prepared


@torch.no_grad()
def assert_task_tokens(imported: Imported, source: Callable[[Tensor, int], Tensor]):
    """The float model equals ``source(normalised images, task)``, final norm included, and all tasks differ."""
    how, images = imported.host["preprocess"], images_of(imported.network, 2)
    model = load_state(imported.network, imported.tensors)
    seen = []
    for task in range(len(imported.network.tasks)):
        seen.append(model(pixels(padded(images, how.get("pad", [0])[0])), task))
        assert_same(seen[-1], source(prepared(images, how["mean"], how["std"]), task))
    assert all(not torch.equal(seen[0], other) for other in seen[1:])
