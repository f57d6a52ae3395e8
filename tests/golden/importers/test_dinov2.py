# SPDX-License-Identifier: Apache-2.0
"""DINOv2 under its authors' names. Their model is not a package, so timm's, which reads their files, replaces it."""

import pytest
import torch
import torch.nn.functional as F

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import NeedsOption

from .conftest import IMAGENET, assert_integer_equals_machine, assert_tokens, randomise


@pytest.fixture
def written(need, tmp_path):
    """``written(registers)``: timm's model, and a file under the authors' names that timm reads."""
    vit = need("timm.models.vision_transformer")

    def write(registers, dim=64, **sizes):
        torch.manual_seed(4)
        model = vit.VisionTransformer(img_size=42, patch_size=14, embed_dim=dim, depth=2, num_heads=dim // 64 or 1,
                                      mlp_ratio=2, num_classes=0, global_pool="token", init_values=1e-5,
                                      reg_tokens=registers, no_embed_class=registers > 0, **sizes)
        state = {name: value.clone() for name, value in randomise(model).state_dict().items()}
        state["mask_token"] = torch.zeros(1, dim)
        if registers:
            state["register_tokens"] = state.pop("reg_token")
            first = torch.randn(1, 1, dim)
            state["pos_embed"] = torch.cat([first, state["pos_embed"]], 1)
            state["cls_token"] = state["cls_token"] - first
            # timm's own conversion of the file gives the expected model.
            model.load_state_dict(vit.checkpoint_filter_fn(dict(state), model))
        path = tmp_path / "dinov2.pth"
        torch.save(state, path)
        return model, path, state

    return write


@pytest.mark.parametrize("registers", [0, 4])
def test_model(written, registers):
    model, path, _ = written(registers)
    imported = import_checkpoint(path)
    assert imported.host["source"]["family"] == "dinov2"
    assert imported.network.prefix_tokens == 1 + registers
    assert imported.network.heads == 1  # of 64 channels, as in every size
    assert_tokens(imported, model.forward_features, *IMAGENET)
    assert imported.report.proof_db > 100
    assert_integer_equals_machine(imported)


@pytest.mark.parametrize("registers", [0, 4])
def test_positions_are_resampled_as_the_authors_do(written, registers):
    """dinov2/models/vision_transformer.py, interpolate_pos_encoding: without registers, the scale has an offset of 0.1;
    with registers, antialiasing and no offset (dinov2/hub/backbones.py)."""
    model, path, state = written(registers)
    imported = import_checkpoint(path, image=(56, 70))
    grid = state["pos_embed"][:, 1:].reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
    if registers:
        grid = F.interpolate(grid, mode="bicubic", antialias=True, size=(4, 5))
    else:
        grid = F.interpolate(grid, mode="bicubic", antialias=False, scale_factor=((4 + 0.1) / 3, (5 + 0.1) / 3))
    want = grid.permute(0, 2, 3, 1).view(1, 20, -1)
    torch.testing.assert_close(imported.tensors["pos_embed"][:, 1 + registers:], want)
    torch.testing.assert_close(imported.tensors["pos_embed"][:, :1], state["pos_embed"][:, :1])
    assert not imported.tensors["pos_embed"][:, 1:1 + registers].any()
    assert "not proved: timm" in str(imported.report)


def test_a_training_checkpoint_asks_which_network(written, tmp_path):
    """A teacher and a student, each with a training head: an option chooses one."""
    model, _, state = written(0)
    whole = {f"backbone.{name}": value for name, value in state.items()} | {"dino_head.mlp.0.weight": torch.ones(4, 64)}
    torch.save({"teacher": whole, "student": whole}, tmp_path / "training.pth")
    imported = import_checkpoint(tmp_path / "training.pth", state="teacher")
    assert "dino_head.mlp.0.weight: a head of training" in str(imported.report)
    assert_tokens(imported, model.forward_features, *IMAGENET)


def test_heads_of_another_width_are_asked_for(written):
    _, path, _ = written(0, dim=96)
    with pytest.raises(NeedsOption, match="--heads"):
        import_checkpoint(path)
