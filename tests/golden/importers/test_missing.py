# SPDX-License-Identifier: Apache-2.0
"""One error names every fact that a checkpoint lacks."""

import pytest
import torch

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import NeedsOption
from moevit.golden.importers.missing import Missing

from .test_m3vit import ASKED, m3vit


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of M3ViT, whose facts no tensor says."""
    torch.save(m3vit(), tmp_path / "m3vit.pth")
    return tmp_path / "m3vit.pth"


def test_all_missing_facts_are_named_at_once(checkpoint):
    with pytest.raises(NeedsOption) as error:
        import_checkpoint(checkpoint)
    assert set(error.value.options) == {"--grid", "--heads", "--normalise", "--tasks", "--top-k"}
    first, *lines = str(error.value).splitlines()
    assert first == f"{checkpoint} does not contain 5 facts of the network. Give all of these options:"
    assert [line.split(",")[0].strip() for line in lines] == list(error.value.options)
    assert ("  --top-k, for example --top-k 2: experts per token (no tensor says how many experts a token uses (2 or 4 "
            "in the published recipes))") in lines


def test_what_is_given_is_not_asked_for(checkpoint):
    asked = {name: value for name, value in ASKED.items() if name not in ("heads", "top_k")}
    with pytest.raises(NeedsOption) as error:
        import_checkpoint(checkpoint, **asked)
    assert set(error.value.options) == {"--heads", "--top-k"}


def test_the_named_options_are_enough(checkpoint):
    assert import_checkpoint(checkpoint, **ASKED).network.top_k == ASKED["top_k"]


def test_half_a_normalisation_is_completed(checkpoint):
    asked = {name: value for name, value in ASKED.items() if name != "normalise"}
    with pytest.raises(NeedsOption) as error:
        import_checkpoint(checkpoint, **asked, mean=(0.5, 0.5, 0.5))
    assert error.value.options == ("--std",)


def test_an_option_is_asked_for_once(tmp_path):
    missing = Missing()
    missing.check(tmp_path)  # nothing is missing yet
    missing.add("--heads", "first")
    missing.add("--heads", "second")
    with pytest.raises(NeedsOption, match=r"a fact of the network.*\n.*\(first\)$"):
        missing.check(tmp_path)


def test_the_order_of_flattened_patches_can_be_given(tmp_path):
    """A linear patch embedding is as good as the convolution that it was made from."""
    tensors = m3vit()
    kernel = tensors["patch_embed.proj.weight"]
    paths = {name: tmp_path / f"{name}.pth" for name in ("kernel", "linear")}
    torch.save(tensors, paths["kernel"])
    torch.save(tensors | {"patch_embed.proj.weight": kernel.flatten(1)}, paths["linear"])
    with pytest.raises(NeedsOption) as error:
        import_checkpoint(paths["linear"], **ASKED)
    assert error.value.options == ("--patch-order",)
    linear = import_checkpoint(paths["linear"], **ASKED, patch_order="rgb-first").tensors
    for name, value in import_checkpoint(paths["kernel"], **ASKED).tensors.items():
        assert torch.equal(linear[name], value), name
