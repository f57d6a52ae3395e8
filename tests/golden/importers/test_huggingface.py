# SPDX-License-Identifier: Apache-2.0
"""ViTs of Hugging Face with random weights, written by transformers: import, float model, integer model, machine."""

import json

import pytest
import torch

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import (
    ImportFailed,
    MissingTensor,
    NeedsOption,
    UnknownFamily,
    UnmappedTensor,
    Unsupported,
)

from .conftest import IMAGENET, assert_classes, assert_integer_equals_machine, assert_tokens, randomise

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
         "num_labels": 5}
#: Module, configuration, class, its arguments, prefix of the backbone, expected fields of the network.
MODELS = {
    "vit": ("vit", "ViTConfig", "ViTForImageClassification", {"intermediate_size": 64}, "vit",
            {"prefix_tokens": 1, "hidden": 64, "norm_eps": 1e-12}),
    "deit": ("deit", "DeiTConfig", "DeiTForImageClassification", {"intermediate_size": 64}, "deit",
             {"prefix_tokens": 2}),
    "deit distilled": ("deit", "DeiTConfig", "DeiTForImageClassificationWithTeacher", {"intermediate_size": 64}, "deit",
                       {"prefix_tokens": 2}),
    "dinov2": ("dinov2", "Dinov2Config", "Dinov2ForImageClassification", {"mlp_ratio": 2}, "dinov2",
               {"prefix_tokens": 1, "norm_eps": 1e-6}),
    "dinov2 with registers": ("dinov2_with_registers", "Dinov2WithRegistersConfig",
                              "Dinov2WithRegistersForImageClassification", {"mlp_ratio": 2}, "dinov2_with_registers",
                              {"prefix_tokens": 5}),
    "vit_msn": ("vit_msn", "ViTMSNConfig", "ViTMSNForImageClassification", {"intermediate_size": 64}, "vit",
                {"prefix_tokens": 1}),
}
POOLS = {"vit": "cls", "deit": "cls", "deit distilled": "prefix", "dinov2": "cls_mean",
         "dinov2 with registers": "cls_mean", "vit_msn": "cls"}


@pytest.fixture
def written(need, tmp_path):
    """``written(name, **arguments)``: the model, its backbone, and the folder written by ``save_pretrained``."""
    def write(name, normalised=True, **arguments):
        module, config, kind, own, root, _ = MODELS[name]
        configuration = getattr(need(f"transformers.models.{module}.configuration_{module}"), config)
        logging = need("transformers.utils.logging")
        logging.disable_progress_bar()
        model = getattr(need(f"transformers.models.{module}.modeling_{module}"), kind)(
            configuration(**{**SIZES, **own, **arguments}))
        randomise(model).save_pretrained(tmp_path)
        if normalised:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps({
                "do_normalize": True, "image_mean": IMAGENET[0], "image_std": IMAGENET[1], "resample": 2,
                "size": {"shortest_edge": 36}}))
        return model, getattr(model, root), tmp_path

    return write


@pytest.mark.parametrize("name", MODELS)
def test_model(written, name):
    model, backbone, folder = written(name)
    imported = import_checkpoint(folder)
    for field, value in MODELS[name][-1].items():
        assert getattr(imported.network, field) == value
    assert imported.host["heads"]["classifier"]["pool"] == POOLS[name]
    assert imported.host["preprocess"] == {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1]), "resize": 36,
                                           "interpolation": "bilinear"}
    assert_tokens(imported, lambda images: backbone(images).last_hidden_state, *IMAGENET)
    assert_classes(imported, lambda images: model(images).logits, *IMAGENET)
    assert imported.report.proof_db > 100
    assert_integer_equals_machine(imported)


@pytest.mark.parametrize("name", MODELS)
def test_positions_are_resampled_as_transformers_does(written, name):
    model, backbone, folder = written(name)
    imported = import_checkpoint(folder, image=(48, 64))
    call = {} if "dinov2" in name else {"interpolate_pos_encoding": True}
    assert_tokens(imported, lambda images: backbone(images, **call).last_hidden_state, *IMAGENET)
    assert "positions of 4x4 patches to 6x8, bicubic as transformers" in str(imported.report)
    assert imported.report.proof_db > 100


@pytest.mark.parametrize("name", MODELS)
def test_a_state_dict_alone_has_other_names(written, tmp_path, name):
    """transformers 5 renames tensors on saving. A torch.save of its state dict has other names, and no config.json."""
    model, backbone, folder = written(name)
    torch.save(model.state_dict(), tmp_path / "state.pth")
    options = {"heads": 2, "mean": IMAGENET[0], "std": IMAGENET[1], "norm_eps": model.config.layer_norm_eps}
    imported = import_checkpoint(tmp_path / "state.pth", **options)
    assert_tokens(imported, lambda images: backbone(images).last_hidden_state, *IMAGENET)
    assert "not proved" in str(imported.report)
    del options["heads"]
    with pytest.raises(NeedsOption, match="--heads"):
        import_checkpoint(tmp_path / "state.pth", **options)


@pytest.mark.parametrize("activation, ours", [("gelu_pytorch_tanh", "gelu_tanh"), ("quick_gelu", "quick_gelu"),
                                              ("relu", "relu"), ("gelu_new", "gelu_tanh")])
def test_activation_is_declared(written, activation, ours):
    _, backbone, folder = written("vit", hidden_act=activation)
    imported = import_checkpoint(folder)
    assert imported.network.activation == ours
    assert_tokens(imported, lambda images: backbone(images).last_hidden_state, *IMAGENET)


def test_no_biases_of_q_k_v(written):
    _, backbone, folder = written("vit", qkv_bias=False)
    imported = import_checkpoint(folder)
    assert "absent biases are zero" in str(imported.report)
    assert_tokens(imported, lambda images: backbone(images).last_hidden_state, *IMAGENET)


def test_names_of_classes_go_to_the_host(written):
    names = {number: name for number, name in enumerate(("ant", "bee", "cat", "dog", "eel"))}
    _, _, folder = written("vit", id2label=names)
    assert import_checkpoint(folder).host["heads"]["classifier"]["classes"] == list(names.values())
    _, _, folder = written("vit")
    assert import_checkpoint(folder).host["heads"]["classifier"]["classes"] is None


@pytest.mark.parametrize("preprocessor, image, resize", [
    ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (32, 32), 37),  # facebook/dinov2-*
    ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, 224), 256),
    ({"size": 256, "crop_size": 224}, (224, 224), 256),  # older facebook/deit-*
    ({"size": {"height": 256, "width": 256}, "crop_size": {"height": 224, "width": 224}}, (112, 160), 128),
    ({"size": {"height": 224, "width": 224}}, (32, 32), None),  # google/vit-*: both sides
    ({"size": 224}, (32, 32), None),
    ({"size": {"shortest_edge": 36}, "do_center_crop": False, "crop_size": 224}, (64, 64), 72)])
def test_the_size_of_a_picture_goes_with_the_image(written, preprocessor, image, resize):
    _, _, folder = written("vit")
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_mean": IMAGENET[0], "image_std": IMAGENET[1], "resample": 3, **preprocessor}))
    preprocess = import_checkpoint(folder, image=image).host["preprocess"]
    assert preprocess["resize"] == resize
    assert preprocess["interpolation"] == "bicubic"


@pytest.mark.parametrize("change, match", [
    ({"rescale_factor": 1 / 127.5}, "not divided by 255"), ({"do_rescale": False}, "not divided by 255"),
    ({"image_mean": [0.5]}, "not readable"), ({"size": {"shortest_edge": "x"}}, "not readable")])
def test_bad_preprocessor(written, change, match):
    _, _, folder = written("vit")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ImportFailed, match=match):
        import_checkpoint(folder)


def test_normalisation_is_asked_for(written):
    _, _, folder = written("vit", normalised=False)
    with pytest.raises(NeedsOption, match="--normalise imagenet|half|none"):
        import_checkpoint(folder)
    with pytest.raises(NeedsOption, match="--std"):
        import_checkpoint(folder, mean=(0.5, 0.5, 0.5))
    with pytest.raises(ImportFailed, match="one of them"):
        import_checkpoint(folder, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), normalise="half")


def test_shards_and_pytorch_weights(written, tmp_path):
    model, backbone, folder = written("vit")
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    imported = import_checkpoint(folder)
    assert "shards" in str(imported.report)
    with pytest.raises(ImportFailed, match="--state model"):
        import_checkpoint(folder, state="model")
    assert_tokens(imported, lambda images: backbone(images).last_hidden_state, *IMAGENET)
    next(folder.glob("model-*.safetensors")).unlink()
    with pytest.raises(ImportFailed, match="not in the folder"):
        import_checkpoint(folder)
    for file in folder.glob("model*"):
        file.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert_tokens(import_checkpoint(folder), lambda images: backbone(images).last_hidden_state, *IMAGENET)


@pytest.mark.parametrize("config, error, match", [
    ({"hidden_act": "silu"}, Unsupported, "hidden_act 'silu'"),
    ({"model_type": "sam"}, UnknownFamily, "model_type sam"),
    ({"num_attention_heads": "many"}, ImportFailed, "not readable"),
    ({"num_attention_heads": 5}, ImportFailed, "multiple of heads"),
    ({"num_attention_heads": 4}, ImportFailed, "not compute what the source's own model does|proof"),
])
def test_bad_configuration(written, config, error, match):
    _, _, folder = written("vit")
    whole = {**json.loads((folder / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(whole))
    if config == {"num_attention_heads": 4}:  # the proof has the same value: the configuration is wrong
        assert import_checkpoint(folder).network.heads == 4
        return
    with pytest.raises(error, match=match):
        import_checkpoint(folder)


def test_heads_that_the_option_says_wrongly_are_found_by_the_proof(written):
    _, _, folder = written("vit")
    with pytest.raises(ImportFailed, match="does not compute what the source's own model does"):
        import_checkpoint(folder, heads=4)


def test_swiglu_is_refused(written):
    _, _, folder = written("dinov2", use_swiglu_ffn=True)
    with pytest.raises(Unsupported, match="weights_in.*SwiGLU"):
        import_checkpoint(folder)


def test_every_tensor_must_be_explained(written, tmp_path):
    model, _, folder = written("vit")
    state = model.state_dict()
    options = {"heads": 2, "normalise": "imagenet"}
    torch.save({**state, "vit.adapter.weight": torch.ones(2, 2)}, tmp_path / "more.pth")
    with pytest.raises(UnmappedTensor, match="vit.adapter.weight"):
        import_checkpoint(tmp_path / "more.pth", **options)
    imported = import_checkpoint(tmp_path / "more.pth", leave_out=("vit.adapter*",), **options)
    assert "vit.adapter.weight: left out as --leave-out vit.adapter* asks" in str(imported.report)
    del state["vit.layers.1.mlp.fc2.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(MissingTensor, match="vit.layers.1.mlp.fc2.weight"):
        import_checkpoint(tmp_path / "less.pth", **options)
