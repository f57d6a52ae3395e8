# SPDX-License-Identifier: Apache-2.0
"""torchvision's VisionTransformer with random weights: import, float model, integer model, machine."""

import pytest
import torch

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import NeedsOption

from .conftest import IMAGENET, assert_classes, assert_integer_equals_machine, assert_tokens, randomise


@pytest.fixture
def vision(need):
    return need("torchvision.models.vision_transformer")


@pytest.fixture
def model(vision):
    return randomise(vision.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5))


def tokens_of(model):
    return lambda images: model.encoder(torch.cat(
        [model.class_token.expand(len(images), -1, -1), model._process_input(images)], 1))


def test_model(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    imported = import_checkpoint(tmp_path / "vit.pth", heads=2)
    assert imported.host["preprocess"] == {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1]), "resize": 37,
                                           "interpolation": "bilinear"}  # 256 for a centre of 224, here for one of 32
    assert_tokens(imported, tokens_of(model), *IMAGENET)
    assert_classes(imported, model, *IMAGENET)
    assert imported.report.proof_db > 100
    assert_integer_equals_machine(imported)


def test_positions_are_resampled_as_torchvision_does(vision, model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    imported = import_checkpoint(tmp_path / "vit.pth", heads=2, image=(48, 48))
    other = vision.VisionTransformer(48, 8, 2, 2, 32, 64, num_classes=5).eval()
    other.load_state_dict(vision.interpolate_embeddings(48, 8, model.state_dict()))
    assert_tokens(imported, tokens_of(other), *IMAGENET)


def test_names_of_old_files(model, tmp_path):
    """Up to 0.12 the layers of the FFN were linear_1 and linear_2 (MLPBlock._load_from_state_dict)."""
    state = {name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
             for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "vit.pth")
    assert_tokens(import_checkpoint(tmp_path / "vit.pth", heads=2), tokens_of(model), *IMAGENET)


def test_heads_are_asked_for_where_the_size_is_not_published(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(NeedsOption, match="--heads"):
        import_checkpoint(tmp_path / "vit.pth")


def test_a_hidden_layer_before_the_classifier_is_left_out(vision, tmp_path):
    model = randomise(vision.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5, representation_size=16))
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    imported = import_checkpoint(tmp_path / "vit.pth", heads=2)
    assert list(imported.host["heads"]) == ["features"]
    assert "pre_logits" in str(imported.report)
