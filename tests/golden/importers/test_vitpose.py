# SPDX-License-Identifier: Apache-2.0
"""transformers' ViTPose and ViTPose++ with random weights, saved by the library itself."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from moevit.golden.importers import ImportFailed, import_checkpoint
from moevit.golden.importers.errors import NeedsOption
from moevit.golden.importers.prove import padded

from .checks import assert_task_tokens
from .conftest import assert_integer_equals_machine, randomise

SMALL = {"image_size": [32, 48], "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "mlp_ratio": 2}
TASKS = ("coco", "aic", "mpii")


@pytest.fixture
def transformers(need):
    need("transformers.models.vitpose.modeling_vitpose")
    return need("transformers")


def saved(transformers, folder, **config):
    """A folder written by transformers, and its backbone."""
    backbone = transformers.VitPoseBackboneConfig(**{**SMALL, **config}, out_indices=[2])
    model = randomise(transformers.VitPoseForPoseEstimation(transformers.VitPoseConfig(backbone_config=backbone)))
    model.save_pretrained(folder)
    return model.backbone


def test_experts_of_data_sets_become_an_fc2_per_task(transformers, tmp_path):
    backbone = saved(transformers, tmp_path, num_experts=3, part_features=8)
    imported = import_checkpoint(tmp_path, tasks=TASKS)
    assert imported.network.task_fc2 and imported.network.tasks == TASKS and imported.network.prefix_tokens == 0
    assert_task_tokens(imported, lambda images, task: backbone(images, dataset_index=torch.tensor([task] * len(images)))
                       .feature_maps[-1])
    assert imported.report.proof_db > 100
    assert any("head.conv" in note for note in imported.report.notes["dropped"])


def test_its_integer_model_runs_on_the_machine(transformers, tmp_path):
    saved(transformers, tmp_path, num_experts=3, part_features=8)
    assert_integer_equals_machine(import_checkpoint(tmp_path, tasks=TASKS))


def test_without_experts_it_is_a_plain_vit(transformers, tmp_path):
    backbone = saved(transformers, tmp_path)
    imported = import_checkpoint(tmp_path)
    assert not imported.network.task_fc2
    assert_task_tokens(imported, lambda images, task: backbone(images).feature_maps[-1])


def test_another_image(transformers, tmp_path):
    """transformers refuses another size, so a backbone of that size gets the resampled positions."""
    backbone = saved(transformers, tmp_path)
    imported = import_checkpoint(tmp_path, image=(64, 32))
    other = transformers.VitPoseBackbone(transformers.VitPoseBackboneConfig(
        **{**SMALL, "image_size": [64, 32]}, out_indices=[2])).eval()
    state = backbone.state_dict()
    positions = state["embeddings.position_embeddings"]
    grid = (positions[:, 1:] + positions[:, :1]).unflatten(1, (2, 3)).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (4, 2), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    other.load_state_dict({**state, "embeddings.position_embeddings": torch.cat([0 * grid[:, :1], grid], 1)})
    assert_task_tokens(imported, lambda images, task: other(images).feature_maps[-1])
    assert any("trained size alone" in note for note in imported.report.notes["proof"])


def test_padding_is_folded_for_a_black_border(transformers, tmp_path):
    """The source pads its normalised picture with zeros: two pixels above and left. The host makes these pixels
    black."""
    saved(transformers, tmp_path)
    assert import_checkpoint(tmp_path).host["preprocess"]["pad"] == [2, 2]


def test_names_of_the_hub_are_those_of_transformers_4(transformers, tmp_path):
    saved(transformers, tmp_path, num_experts=3, part_features=8)
    file = tmp_path / "model.safetensors"
    want = import_checkpoint(tmp_path, tasks=TASKS)
    save_file({name.replace(".experts.", ".experts.experts."): value for name, value in load_file(file).items()}, file)
    got = import_checkpoint(tmp_path, tasks=TASKS)
    for name, value in want.tensors.items():
        assert torch.equal(got.tensors[name], value), name


def test_names_of_mmpose(transformers, tmp_path):
    """The names of ViTAE-Transformer/ViTPose (mmpose), from its vit_moe.py: the same weights with joined q, k and v."""
    saved(transformers, tmp_path, num_experts=3, part_features=8)
    want = import_checkpoint(tmp_path, tasks=TASKS, norm_eps=1e-6)
    torch.save({"state_dict": mmpose(load_file(tmp_path / "model.safetensors"))}, tmp_path / "vitpose.pth")
    got = import_checkpoint(tmp_path / "vitpose.pth", tasks=TASKS, heads=2, image=(32, 48))
    for name, value in want.tensors.items():
        assert torch.equal(got.tensors[name], value), name


def mmpose(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    moved = {"embeddings.patch_embeddings.projection": "patch_embed.proj", "head.": "keypoint_head.",
             "embeddings.position_embeddings": "pos_embed", "encoder.layer": "blocks", "layernorm_before": "norm1",
             "layernorm_after": "norm2", "attention.output.dense": "attn.proj",
             "backbone.layernorm": "backbone.last_norm"}
    found = {}
    for name, value in tensors.items():
        for old, new in moved.items():
            name = name.replace(old, new)
        found[name] = value
    for block in range(2):
        for kind in ("weight", "bias"):
            parts = [found.pop(f"backbone.blocks.{block}.attention.attention.{part}.{kind}")
                     for part in ("query", "key", "value")]
            found[f"backbone.blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    return found


def test_unnamed_tasks_are_asked_for(transformers, tmp_path):
    saved(transformers, tmp_path, num_experts=3, part_features=8)
    with pytest.raises(NeedsOption, match="3 experts") as error:
        import_checkpoint(tmp_path)
    assert error.value.options == ("--tasks",)


def test_six_experts_are_the_published_data_sets(transformers, tmp_path):
    saved(transformers, tmp_path, num_experts=6, part_features=8)
    assert import_checkpoint(tmp_path).network.tasks == ("coco", "aic", "mpii", "ap10k", "apt36k", "wholebody")


def test_a_missing_expert_is_named(transformers, tmp_path):
    saved(transformers, tmp_path, num_experts=3, part_features=8)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for kind in ("weight", "bias"):
        del tensors[f"backbone.encoder.layer.1.mlp.experts.2.{kind}"]
    save_file(tensors, file)
    with pytest.raises(ImportFailed, match=r"encoder.layer.1.mlp.fc2 has 2 experts .* block 0 has 3"):
        import_checkpoint(tmp_path, tasks=TASKS)


def test_a_wrong_activation_is_not_proved(transformers, tmp_path):
    saved(transformers, tmp_path)
    with pytest.raises(ImportFailed, match="dB"):
        import_checkpoint(tmp_path, activation="relu")


def test_picture_of_the_host_is_moved_by_the_padding():
    image = np.arange(1 * 8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3) + 1
    moved = padded(image, 2)
    assert moved.shape == image.shape and not moved[:, :2].any() and not moved[:, :, :2].any()
    np.testing.assert_array_equal(moved[:, 2:, 2:], image[:, :6, :6])
