# SPDX-License-Identifier: Apache-2.0
"""timm's vision transformers with random weights, written by timm: import, float model, integer model, machine."""

import json

import pytest
import torch
from safetensors.torch import save_file

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import ImportFailed, NeedsOption, Unsupported

from .conftest import IMAGENET, assert_classes, assert_integer_equals_machine, assert_tokens, randomise

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 5}
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
ASKED = {"heads": 2, "normalise": "half"}

#: Variants of VisionTransformer, and the expected fields of the network.
VARIANTS = {
    "plain": ({}, {"prefix_tokens": 1, "final_norm": True, "norm_eps": 1e-6}),
    "layer scale": ({"init_values": 0.1}, {"prefix_tokens": 1}),
    "registers, positions for patches": ({"init_values": 0.1, "reg_tokens": 4, "no_embed_class": True},
                                         {"prefix_tokens": 5}),
    "registers, positions for all": ({"reg_tokens": 4}, {"prefix_tokens": 5}),
    "mean of patches, normed after": ({"global_pool": "avg"}, {"prefix_tokens": 1, "final_norm": False}),
    "no class token": ({"class_token": False, "global_pool": "avg", "fc_norm": False},
                       {"prefix_tokens": 0, "final_norm": True}),
    "no biases of q, k, v": ({"qkv_bias": False}, {"prefix_tokens": 1}),
    "patch 14": ({"img_size": 42, "patch_size": 14}, {"patch": 14, "height": 42}),
}


@pytest.fixture
def vit(need):
    module = need("timm.models.vision_transformer")
    return lambda **arguments: randomise(module.VisionTransformer(**{**SIZES, **arguments}))


def saved(model, path):
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(vit, tmp_path, name):
    arguments, expected = VARIANTS[name]
    model = vit(**arguments)
    imported = import_checkpoint(saved(model, tmp_path / "vit.pth"), **ASKED)
    for field, value in expected.items():
        assert getattr(imported.network, field) == value
    assert_tokens(imported, model.forward_features, *HALF, norm_is_last=imported.network.final_norm)
    assert_classes(imported, model, *HALF)
    assert imported.report.proof_db > 100
    assert_integer_equals_machine(imported)


def test_distilled(need, tmp_path):
    model = randomise(need("timm.models.deit").VisionTransformerDistilled(**SIZES))
    imported = import_checkpoint(saved(model, tmp_path / "deit.pth"), **{**ASKED, "normalise": "imagenet"})
    assert imported.network.prefix_tokens == 2
    assert imported.host["heads"]["classifier"]["pool"] == "prefix"
    assert_tokens(imported, model.forward_features, *IMAGENET)
    assert_classes(imported, model, *IMAGENET)
    assert_integer_equals_machine(imported)


@pytest.mark.parametrize("arguments", [{}, {"reg_tokens": 4, "no_embed_class": True}, {"reg_tokens": 4}], ids=str)
def test_positions_are_resampled_as_timm_does(vit, tmp_path, arguments):
    """The library's own resampling (set_input_size) gives the expectation."""
    model = vit(**arguments)
    imported = import_checkpoint(saved(model, tmp_path / "vit.pth"), image=(48, 64), **ASKED)
    assert (imported.network.height, imported.network.width) == (48, 64)
    assert "resampled  positions of 4x4 patches to 6x8, bicubic as timm does it" in str(imported.report)
    model.set_input_size(img_size=(48, 64))
    assert_tokens(imported, model.forward_features, *HALF)


def test_the_grid_of_an_image_that_is_no_square_is_asked_for(vit, tmp_path):
    model = vit(img_size=(32, 40))
    path = saved(model, tmp_path / "vit.pth")
    with pytest.raises(NeedsOption, match="--grid"):
        import_checkpoint(path, **ASKED)
    assert_tokens(import_checkpoint(path, image=(32, 40), **ASKED), model.forward_features, *HALF)
    other = import_checkpoint(path, grid=(4, 5), image=(32, 32), **ASKED)
    model.set_input_size(img_size=(32, 32))
    assert_tokens(other, model.forward_features, *HALF)
    with pytest.raises(ImportFailed, match="4x6"):
        import_checkpoint(path, grid=(4, 6), **ASKED)


def test_activation_is_declared(vit, tmp_path):
    model = vit(act_layer="gelu_tanh")
    imported = import_checkpoint(saved(model, tmp_path / "vit.pth"), activation="gelu_tanh", **ASKED)
    assert imported.network.activation == "gelu_tanh"
    assert_tokens(imported, model.forward_features, *HALF)


@pytest.mark.parametrize("missing, option", [("heads", "--heads"), ("normalise", "--normalise")])
def test_what_no_tensor_says_is_asked_for(vit, tmp_path, missing, option):
    asked = {name: value for name, value in ASKED.items() if name != missing}
    with pytest.raises(NeedsOption, match=option):
        import_checkpoint(saved(vit(), tmp_path / "vit.pth"), **asked)


def test_the_name_of_a_model_says_heads_and_normalisation(need, vit, tmp_path):
    path = saved(vit(embed_dim=192, num_heads=3), tmp_path / "vit.pth")
    imported = import_checkpoint(path, model="vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert imported.network.heads == 3
    assert imported.host["preprocess"]["mean"] == [0.5, 0.5, 0.5]
    with pytest.raises(ImportFailed, match="no such model"):
        import_checkpoint(path, model="vit_of_nobody")
    with pytest.raises(ImportFailed, match="not a plain vision transformer"):
        import_checkpoint(path, model="swin_tiny_patch4_window7_224")
    with pytest.raises(ImportFailed, match="ParallelScalingBlock"):
        import_checkpoint(path, model="vit_base_patch16_xp_224")


def test_a_folder_of_timm(vit, tmp_path):
    """A folder as timm writes it for the Hub: config.json with architecture and pretrained_cfg."""
    model = vit(embed_dim=192, num_heads=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({
        "architecture": "vit_tiny_patch16_224", "num_classes": 5, "pretrained_cfg": {
            "mean": IMAGENET[0], "std": IMAGENET[1], "input_size": [3, 32, 32], "crop_pct": 0.8,
            "interpolation": "bilinear"}}))
    imported = import_checkpoint(tmp_path)
    assert imported.host["preprocess"] == {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1]), "resize": 40,
                                           "interpolation": "bilinear"}
    assert_tokens(imported, model.forward_features, *IMAGENET)
    assert import_checkpoint(tmp_path, image=(64, 64)).host["preprocess"]["resize"] == 80


#: timm's networks with parts that the machine lacks, and a word of the reason.
REFUSED = {
    "vit_giant_patch14_dinov2": "SwiGLU", "vit_base_patch16_clip_224": "norm_pre",
    "vit_base_patch16_siglip_224": "pooling", "vit_small_patch16_dinov3": "RoPE",
    "swin_tiny_patch4_window7_224": "relative", "beit_base_patch16_224": "relative",
    "vit_relpos_small_patch16_224": "relative", "vit_small_r26_s32_224": "stem", "vit_base_patch16_xp_224": "QK-norm",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_machine_has_not_is_refused_by_name(need, tmp_path, name):
    timm = need("timm")
    with torch.device("meta"):
        depth = {} if name.startswith(("swin", "vit_small_r26")) else {"depth": 1}
        state = timm.create_model(name, **depth).state_dict()
    torch.save({key: torch.zeros(1).expand(value.shape) for key, value in state.items()}, tmp_path / "model.pth")
    with pytest.raises(Unsupported, match=REFUSED[name]) as caught:
        import_checkpoint(tmp_path / "model.pth", heads=2, normalise="half")
    assert str(caught.value).split(":")[0].split(",")[0] in state  # the name of a tensor
    assert "\n" not in str(caught.value)


def test_tokens_without_the_attention_pooling(vit, tmp_path):
    model = vit(class_token=False, global_pool="map", num_classes=0)
    path = saved(model, tmp_path / "vit.pth")
    with pytest.raises(Unsupported, match="attn_pool"):
        import_checkpoint(path, **ASKED)
    imported = import_checkpoint(path, leave_out=("attn_pool.*",), **ASKED)
    assert_tokens(imported, model.forward_features, *HALF)


def test_layer_scale_of_deit_3_is_told_from_others_by_the_models_name(vit, tmp_path):
    """facebookresearch/deit calls it gamma_1. So do networks with rotary positions, whose other names are the same."""
    model = vit(init_values=0.1, no_embed_class=True, embed_dim=384, num_heads=6)
    state = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
             for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "deit3.pth")
    with pytest.raises(NeedsOption, match="--model"):
        import_checkpoint(tmp_path / "deit3.pth", heads=6, normalise="imagenet")
    imported = import_checkpoint(tmp_path / "deit3.pth", model="deit3_small_patch16_224")
    assert_tokens(imported, model.forward_features, *IMAGENET)
    assert imported.report.proof_db > 100
    with pytest.raises(ImportFailed, match="not a plain vision transformer"):
        import_checkpoint(tmp_path / "deit3.pth", model="vit_small_patch16_rope_224")


def test_a_masked_autoencoder_is_its_encoder(vit, tmp_path):
    """The names come from facebookresearch/mae, models_mae.py."""
    model = vit()
    torch.save({"model": model.state_dict() | {"mask_token": torch.ones(1, 1, 16), "decoder_embed.weight": torch.ones(
        16, 32), "decoder_blocks.0.norm1.weight": torch.ones(16)}}, tmp_path / "mae.pth")
    imported = import_checkpoint(tmp_path / "mae.pth", **ASKED)
    assert "the decoder of a masked autoencoder" in str(imported.report)
    assert_tokens(imported, model.forward_features, *HALF)
    assert imported.report.proof_db > 100


def test_a_hidden_layer_before_the_classifier_is_left_out(vit, tmp_path):
    """``pre_logits.fc`` of timm's early ImageNet-21k weights."""
    torch.save(vit().state_dict() | {"pre_logits.fc.weight": torch.ones(16, 32), "pre_logits.fc.bias": torch.ones(16)},
               tmp_path / "vit.pth")
    imported = import_checkpoint(tmp_path / "vit.pth", **ASKED)
    assert list(imported.host["heads"]) == ["features"]
    assert "pre_logits" in str(imported.report)
